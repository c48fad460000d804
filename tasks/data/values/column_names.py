"""Recognize columns by common names: which of a file's own is the prompt, the answer, the choice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from tasks.common.names import yaml_quoted
from tasks.data.values.editorial_marks import MarkedTextsUse
from tasks.data.values.field_meanings import Meaning, flatten_name, word_set
from tasks.data.values.key_text import YAML_WORDS

# Common names in order of likelihood. Names are compared in lower case with one underscore between words.
NAMES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query", "instruction", "user_prompt", "user_query", "request", "title",
               "input", "user", "ask", "problem", "post", "frage", "anfrage", "aufgabe", "eingabe", "demande",
               "consigne", "pregunta", "consulta", "pergunta", "domanda", "richiesta", "vraag", "opdracht",
               "inputs_pretokenized", "inputs", "human",
               "question_stem"),
    "completion": ("completion", "answer", "response", "output", "reply", "solution", "target", "assistant",
                   "bot", "targets_pretokenized", "targets", "canonical_solution", "correct_answer",
                   "best_answer",
               "body", "content", "text", "antwort", "ausgabe", "réponse", "reponse", "respuesta",
                   "resposta", "risposta", "antwoord"),
    "choice": ("choice", "preferred", "preference", "winner", "better", "vote", "label", "labels", "selected",
               "pick", "chosen", "best", "verdict"),
    "chosen": ("chosen", "chosen_response", "preferred_response", "preferred_answer", "accepted",
               "accepted_response", "better_response", "good_response", "preferred", "winning_response",
               "response_chosen", "answer_chosen", "good", "better"),
    "rejected": ("rejected", "rejected_response", "dispreferred_response", "rejected_answer",
                 "worse_response", "bad_response", "dispreferred", "losing_response", "response_rejected",
                 "answer_rejected",
                 "bad", "worse", "non_preferred"),
    "text": ("text", "body", "content", "article", "document", "passage", "paragraph", "story", "page",
             "raw_text", "full_text", "content_text"),
    "annotator": ("annotator", "annotator_id", "rater", "rater_id", "judge", "labeler", "labeller",
                  "labeler_id", "labeller_id", "voter", "voter_id", "worker", "worker_id", "reviewer",
                  "reviewer_id", "evaluator", "evaluator_id", "annotated_by", "labeled_by", "labelled_by",
                  "rated_by", "voted_by", "reviewed_by", "user_id", "user", "username", "user_name"),
}  # fmt: skip
# Beside a question and its answer these name the person who rated it. A user may be who asked.
_RATERS = tuple(name for name in NAMES["annotator"] if not name.startswith(("user", "judge")))
# The columns of each kind of row. The first kind whose columns a file has completely is used.
_KINDS = (
    ("rows", ("prompt", "a", "b", "choice")),
    ("preferences", ("prompt", "chosen", "rejected")),
    ("rows", ("prompt", "completion")),
    ("rows", ("text",)),
)
# A text with one of these is no text alone.
_NO_TEXT = frozenset(("answer", "answers", "question", "questions"))
# Names of the formats, for files that only spell them with other letters: Prompt, " completion".
_KNOWN = (
    "prompt", "completion", "text", "a", "b", "choice", "chosen", "rejected", "messages", "conversations",
    "instruction", "output", "score", "scores", "label", "annotator", "aspect",
)  # fmt: skip
# The columns that make a row with one answer, and those that make one with two.
_ONE_ANSWER = tuple(
    map(frozenset, (("prompt", "completion"), ("messages",), ("conversations",), ("instruction", "output")))
)
_TWO_ANSWERS = (frozenset(("prompt", "a", "b", "choice")), frozenset(("chosen", "rejected")))
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Words that tell two columns of answers apart, and those of further columns, which make them more than two.
_PAIRS = (
    ("a", "b", "c"), ("1", "2", "0 3"), ("0", "1", "2"), ("left", "right", ""), ("first", "second", "third"),
    ("one", "two", "three"), ("links", "rechts", ""), ("erste", "zweite", "dritte"), ("gauche", "droite", ""),
    ("izquierda", "derecha", ""), ("esquerda", "direita", ""), ("sinistra", "destra", ""),
)  # fmt: skip
SIDE_WORDS = tuple((one, other) for one, other, _ in _PAIRS)
# The last word of such a column's name without its side, in order of likelihood.
_ANSWERS = ("response", "answer", "completion", "output", "reply", "candidate", "generation", "summary",
            "text", "conversation", "messages", "chat", "assistant", "option", "ref",
            "antwort", "ausgabe", "réponse", "reponse", "respuesta", "resposta", "risposta", "antwoord", "",
            "model", "modell", "modelo", "modello", "modèle")  # fmt: skip
# Of these the whole conversation is the answer's column, so the prompt is what two of them share.
CONVERSATIONS = frozenset(("conversation", "messages", "chat"))
_PROMPTS = ("context", "history", "conversation", "messages", "dialogue")
# Words of a column that holds the choice between two answers, and of columns about it.
_CHOICES = word_set(
    """
    best better choice chosen judgement judgment pick preference preferred verdict vote winner
    besser beste bessere bevorzugt gewinner sieger wahl auswahl präferenz urteil
    meilleur meilleure préféré préférée preferee préférence gagnant gagnante choix
    mejor preferido preferida preferencia ganador ganadora elección eleccion elegida
    melhor preferência vencedor vencedora escolha escolhida
    migliore preferito preferita preferenza vincitore vincitrice scelta
    beter voorkeur winnaar keuze
    """
)
_ABOUT = word_set(
    """
    comment explanation justification note rationale reason reasoning remark text time why begründung grund
    kommentar warum commentaire explication raison comentario motivo razón comentário razão commento
    spiegazione opmerking reden uitleg
    """
)
_WORSE = word_set(
    """
    bad dispreferred inferior least less loser losing lost lower lowest not poorer rejected unchosen
    unpreferred weaker weakest worse worst
    schlechter schlechtere schlechteste verlierer pire perdant perdante peor perdedor perdedora pior peggiore
    perdente slechter slechtere slechtste verliezer
    """
)
_OVERALL = word_set("final human majority overall")


class Guess(NamedTuple):
    """A format, and the file's own columns by the format's names. `columns` omits equal names.

    `fields` has the meanings of columns without which the rows could not be read. `told` is true if an
    earlier preset of the folder says all this. `marked_texts` is that of the earlier preset.
    """

    format: str
    columns: dict[str, str]
    fields: Mapping[str, Meaning] = {}
    told: bool = False
    marked_texts: MarkedTextsUse = ""


def plain_name(name: str) -> str:
    """Return a column's name in lower case with one underscore between words, as `response_a`."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())
    return re.sub(r"[^\w]+|_+", "_", words).strip("_").lower()


def guess_columns(keys: Iterable[str]) -> Guess | None:
    """Return the format and the columns that the names suggest; None if they suggest none."""
    keys = list(keys)
    own: dict[str, str] = {}
    for key in keys:
        # Of two columns that differ only in spelling the first counts.
        own.setdefault(plain_name(key), key)
    # Tables of tools have names such as `Input.prompt` and `outputs.answer`.
    for key in keys:
        own.setdefault(plain_name(key.rpartition(".")[2]), key)
    for format, names in _KINDS:
        if names == ("text",) and not _NO_TEXT.isdisjoint(own):
            continue
        found = dict(zip("ab", answer_columns(keys), strict=False)) if "a" in names else {}
        known = {**NAMES, "prompt": (*NAMES["prompt"], *_PROMPTS)} if found else NAMES
        for name in names:
            if name in found:
                continue
            taken = found.values()
            key = next((own[one] for one in known.get(name, ()) if one in own and own[one] not in taken), "")
            if name == "choice" and not key:
                key = choice_column(key for key in keys if key not in taken)
            found |= {name: key} if key else {}
        missing = set(names) - found.keys()
        if missing and not (missing == {"prompt"} and "a" in found and _is_conversation(found["a"])):
            continue
        if format == "rows" and "completion" in found and own.get("title") == found["prompt"]:
            # A title with a body is more often a document than a question with its answer.
            answers = {own.get(known) for known in ("answer", "response", "completion", "output", "reply")}
            if found["completion"] not in answers:
                continue
        people = NAMES["annotator"] if "choice" in found or "chosen" in found else _RATERS
        if who := next((own[known] for known in people if known in own and "prompt" in names), ""):
            found["annotator"] = who
        ordered = {name: found[name] for name in (*names, "annotator") if name in found}
        return Guess(format, {name: key for name, key in ordered.items() if name != key})
    return None


def labelled_columns(rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the columns of texts with a list of one answer as label, as doccano exports them; else empty.

    Classes are lists too. Answers are of several words, and seldom the same.
    """
    text = next((key for key in ("text", "data") if all(isinstance(row.get(key), str) for row in rows)), "")
    labels = [row.get("label") for row in rows]
    if not text or not all(isinstance(label, list) and len(label) < 2 for label in labels):
        return {}
    answers = [label[0] for label in labels if isinstance(label, list) and label]
    if not answers or not all(isinstance(answer, str) for answer in answers):
        return {}
    several = sum(len(str(answer).split()) > 2 for answer in answers)
    told = 2 * several > len(answers) and 2 * len(set(answers)) > len(answers)
    return {"prompt": text, "completion": "label"} if told else {}


def named_columns(rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the columns of two answers that the choice names, as `gpt-4o` and `claude-3`; else empty."""
    keys = list(rows[0]) if rows else []
    choice = choice_column(keys)
    said = {str(row.get(choice)).strip() for row in rows}
    answers = [key for key in keys if key.strip() in said and key != choice]
    prompts = (key for name in NAMES["prompt"] for key in keys if plain_name(key) == name)
    prompt = next((key for key in prompts if key not in answers), "")
    texts = all(isinstance(row.get(key), str) for row in rows for key in answers)
    if not choice or not prompt or len(answers) != 2 or not texts:
        return {}
    found = {"prompt": prompt, "a": answers[0], "b": answers[1], "choice": choice}
    return {name: key for name, key in found.items() if name != key}


def answer_columns(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of two answers, whose names differ in their side only; empty for none.

    Their names are such as `response_a` and `response_b`, `answer 1` and `answer 2`, or `left` and `right`.
    """
    stems: dict[str, dict[str, str]] = {}
    sides = {side for pair in _PAIRS for side in pair[:2] + tuple(pair[2].split())}
    for key in keys:
        words = flatten_name(key).split("_")
        for place, word in enumerate(words):
            if word in sides:
                stems.setdefault("_".join(words[:place] + words[place + 1 :]), {}).setdefault(word, key)
    likely = (stem for stem in stems if _last(stem) in _ANSWERS and not set(stem.split("_")) & _CHOICES)
    for stem in sorted(likely, key=lambda stem: _ANSWERS.index(_last(stem))):
        for one, other, further in _PAIRS:
            there = stems[stem]
            if one in there and other in there and not there.keys() & set(further.split()):
                return there[one], there[other]
    return ()


def _last(stem: str) -> str:
    return stem.rpartition("_")[2]


def _is_conversation(key: str) -> bool:
    return bool(set(flatten_name(key).split("_")) & CONVERSATIONS)


def has_choice_word(key: str) -> bool:
    """Return whether a column's name has a word for the choice between two answers, and none for a remark.

    A column that names the worse answer is no choice.
    """
    words = set(flatten_name(key).split("_"))
    return bool(words & _CHOICES) and not words & _ABOUT and not names_worse(key)


def names_worse(key: str) -> bool:
    """Return whether a column names the worse of two answers, as `less_preferred` and `loser`."""
    return bool(set(flatten_name(key).split("_")) & _WORSE)


def choice_column(keys: Iterable[str]) -> str:
    """Return the only column whose name has a word for the choice between two answers; empty for several."""
    found = list(filter(has_choice_word, keys))
    overall = [key for key in found if set(flatten_name(key).split("_")) & _OVERALL]
    few = overall if len(overall) == 1 else found
    return few[0] if len(few) == 1 else ""


def respelled_columns(keys: Iterable[str]) -> dict[str, str]:
    """Return columns that differ from a known name only in case and white space, by that name.

    The names of a column for annotators are all known, so `Rated by` is one too, if it is the only one.
    """
    keys = list(keys)
    found: dict[str, str] = {}
    for key in keys:
        name = key.strip().lower()
        # A column with exactly the known name has precedence over one in another case.
        if name != key and name in _KNOWN and name not in keys:
            found.setdefault(name, key)
    found = _without_other_kinds(found, {*keys, *found})
    people = [key for key in keys if plain_name(key) in _RATERS]
    if len(people) == 1 and people[0] not in _RATERS:
        found.setdefault("annotator", people[0])
    return found


def _without_other_kinds(found: Mapping[str, str], names: AbstractSet[str]) -> dict[str, str]:
    """Return respelled columns without those that another kind of row needs and the file's rows do not.

    `Rejected` beside a pair is a verdict, and `Text` no document. Under a format's name nothing would ask.
    Beside answers, `Label` is read by its name as it is, and asked about if its values are not understood.
    """
    whole = [columns for columns in (*_ONE_ANSWER, *_TWO_ANSWERS) if columns <= names]
    unused = {"text", "label"} if whole else set()
    if any(columns in _ONE_ANSWER for columns in whole):
        unused |= {name for columns in _TWO_ANSWERS if not columns <= names for name in columns - {"prompt"}}
    return {name: key for name, key in found.items() if name not in unused}


def rename_columns(values: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """Return the values under the names that `columns` gives them."""
    names = {own: name for name, own in columns.items() if own in values}
    return {names.get(key, key): value for key, value in values.items() if key in names or key not in columns}


def format_columns(columns: Mapping[str, str]) -> str:
    """Return the columns as YAML for a preset."""
    return f"columns: {{{', '.join(f'{name}: {yaml_scalar(own)}' for name, own in columns.items())}}}"


def format_fields(fields: Mapping[str, Meaning]) -> str:
    """Return the meanings of columns as YAML that follows other keys of a source; empty for none."""
    if not fields:
        return ""
    told = (f"{yaml_scalar(name)}: {yaml_meaning(said)}" for name, said in fields.items())
    return f", fields: {{{', '.join(told)}}}"


def yaml_meaning(meaning: Meaning) -> str:
    """Return a meaning of `fields` as YAML: a word, or a mapping of values, of which the text is kept."""
    if isinstance(meaning, str):
        return meaning
    said = (
        f"{yaml_scalar(value)}: {yaml_scalar(to) if isinstance(to, str) else to}"
        for value, to in meaning.items()
    )
    return f"{{{', '.join(said)}}}"


def yaml_scalar(text: str) -> str:
    """Return a word as YAML, in quotes if YAML would otherwise read it as something else."""
    return text if WORD.fullmatch(text) and text.lower() not in YAML_WORDS else yaml_quoted(text)


def yaml_value(word: str) -> str:
    """Return a value from `plain_word` as YAML; in quotes, it has spaces instead of underscores."""
    found = yaml_scalar(word)
    # A mapping matches values by `plain_word`, which reads spaces and underscores alike.
    return found if found == word else yaml_scalar(word.replace("_", " "))
