"""Guess the columns of rows by common names, and by the values where names alone say too little."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tasks.data.parsing.conversations import is_turn_list
from tasks.data.parsing.right_answers import IDEAL, is_span
from tasks.data.parsing.side_columns import propose_scores
from tasks.data.questions.companion_keys import PASSAGES, POST_BODIES, SUMMARIES, is_passage, is_prose
from tasks.data.values.column_names import (
    CONVERSATIONS,
    NAMES,
    Guess,
    answer_columns,
    guess_columns,
    named_columns,
    plain_name,
)
from tasks.data.values.field_meanings import (
    ACCEPT,
    FALSE,
    IGNORE,
    KNOWN,
    MASKS,
    NEGATIVE,
    POSITIVE,
    REJECT,
    TRUE,
    flatten_name,
    is_empty,
    plain_word,
)
from tasks.data.values.list_literals import holds_turns_text
from tasks.data.values.roles import ROLE_KEYS
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.verdict_names import names_judgement
from tasks.data.verdicts.verdict_values import MOST_VALUES, is_judgement

# Names of a column of turns. A list under another name, as `answers`, may be no conversation.
_CHATS = frozenset((
    "chat", "chat_history", "chat_messages", "conversation", "dialog", "dialogue", "message_list", "thread",
    "transcript", "turns",
))  # fmt: skip


# Names of what a model wrote, in order of likelihood, and of the right answers beside it.
_OUTPUTS = (
    "model_response", "model_output", "model_answer", "model_reply", "llm_response", "llm_output",
    "llm_answer", "generated_response", "generated_answer", "generated_text", "generation",
    "predicted_answer", "prediction", "actual_output", "response", "output", "reply", "assistant", "bot",
)  # fmt: skip
_RIGHT = frozenset((
    "answer", "best_answer", "canonical_solution", "correct_answer", "solution", "target", "targets",
))  # fmt: skip
_MARKS = frozenset(("x", "X", "*", "✓", "✔", "☑", "✗", "✘"))
_VERDICTS = POSITIVE | NEGATIVE | ACCEPT | REJECT | IGNORE | TRUE | FALSE


def guess_rows(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """Return the format and the columns that some rows suggest; None if they suggest none."""
    if not rows:
        return None
    found = _guess_evals(rows) or _guess_answers(rows) or _guess_summaries(rows) or _guess_names(rows)
    return found._replace(columns=add_passage(found, rows)) if found else None


def add_passage(found: Guess, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the columns of a guess with that of the passage which the prompts are about, if there is one.

    It is the `context`. If several rows share a passage, it is also their `group`, so that no split holds out
    a question about a passage that others were trained on.
    """
    columns, keys = dict(found.columns), list(rows[0])
    asked = columns.get("prompt", "prompt")
    if found.format != "rows" or "context" in columns or asked not in keys:
        return columns
    taken = {*columns.values(), *(name for name in ("completion", "a", "b") if name not in columns)}
    titled = plain_name(asked).endswith("title")
    passages = [
        key
        for key in keys
        if key not in taken
        and (not titled or plain_name(key) in POST_BODIES)
        # A column that some rows lack could not be named for all of them.
        and all(key in row for row in rows)
        and any(is_prose(row[key]) if titled else is_passage(key, row[key]) for row in rows)
    ]
    if len(passages) != 1:
        return columns
    texts = [str(row[passages[0]]) for row in rows]
    # Questions about a passage are neighbours. Else it may be a setting that many rows have.
    changes = sum(one != other for one, other in pairwise(texts))
    if 1 < len(set(texts)) == changes + 1 < len(rows) and "group" not in keys and not titled:
        return {**columns, "context": passages[0], "group": passages[0]}
    return {**columns, **({"context": passages[0]} if passages[0] != "context" else {})}


def _guess_evals(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """Return the columns of rows for OpenAI's evals: turns under `input`, right answers under `ideal`."""
    for row in rows:
        ideal = row.get(IDEAL)
        texts = ideal if isinstance(ideal, list) else [ideal]
        if not _is_chat(row.get("input")) or not texts or not all(isinstance(one, str) for one in texts):
            return None
    return Guess("rows", {"prompt": "input", "completion": IDEAL})


def _guess_answers(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """Return the columns of questions about a passage with a list of right answers, as in SQuAD."""
    names = {plain_name(key): key for key in rows[0]}
    asked = next((names[name] for name in ("question", "prompt", "query") if name in names), "")
    answers = next((names[name] for name in ("answers", "answer") if name in names), "")
    passage = any(name in PASSAGES for name in names)
    given = [row.get(answers) for row in rows] if asked and answers else []
    spans = [value for value in given if is_span(value)]
    listed = passage and all(isinstance(v, list) and all(isinstance(one, str) for one in v) for v in given)
    if not given or not (listed or len(spans) == len(given)):
        return None
    columns = {"prompt": asked, "completion": answers}
    return Guess("rows", {name: key for name, key in columns.items() if name != key})


def _guess_summaries(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """Return the columns of documents with a summary of each."""
    names = {plain_name(key): key for key in rows[0]}
    summary = next((names[name] for name in SUMMARIES if name in names), "")
    document = next((names[name] for name in ("dialogue", *NAMES["text"], "report") if name in names), "")
    asks = any(name in names for name in NAMES["prompt"] if name not in ("title", "user", "post"))
    given = [(row.get(document), row.get(summary)) for row in rows]
    if not summary or not document or asks or not all(isinstance(one, str) for two in given for one in two):
        return None
    return Guess("rows", {"prompt": document, "completion": summary})


def _guess_names(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    verdicts = _verdict_columns(rows)
    output, others = _rated_output(rows, verdicts)
    names = {("response" if key == output else key): key for key in rows[0] if key not in verdicts | others}
    found = guess_columns(names)
    if found:
        found = found._replace(columns={name: names.get(key, key) for name, key in found.columns.items()})
    if found and (found.format == "preferences" or {"a", "b"} <= found.columns.keys() | rows[0].keys()):
        return found
    if named := named_columns(rows):
        return Guess("rows", _with_annotator(named, rows[0]))
    # Of two answers with a rank each, `guess_columns` would see one answer only.
    return _guess_scored(rows) or found or _guess_conversation(rows)


def _verdict_columns(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the columns with the name of an answer that hold verdicts, as Prodigy's `answer: accept`.

    So do `good` and `bad` with true, false, counts or marks beside an answer: they are no two answers. Empty
    if there is no other answer, as yes and no may be answers.
    """
    named = [key for key in rows[0] if _is_named(key, NAMES["completion"])]
    found = {key for key in named if _hold_verdicts(row.get(key) for row in rows)}
    if len(found) == len(named):
        return set()
    sides = [key for key in rows[0] if _is_named(key, (*NAMES["chosen"], *NAMES["rejected"]))]
    return found | {key for key in sides if _hold_marks([row.get(key) for row in rows])}


def _hold_verdicts(values: Iterable[Any]) -> bool:
    said = {plain_word(str(value)) for value in values if not is_empty(value)}
    return 0 < len(said) <= MOST_VALUES and all(word in _VERDICTS or is_judgement(word) for word in said)


def _is_named(key: str, names: Collection[str]) -> bool:
    # Tables of tools have names such as `Input.response` and `Answer.quality.good`.
    return plain_name(key) in names or plain_name(key.rpartition(".")[2]) in names


def _hold_marks(values: Sequence[Any]) -> bool:
    """Return whether a column has verdicts, numbers, or a mark in some cells."""
    given = [value for value in values if not is_empty(value)]
    marks = {str(value).strip() for value in given}
    numbers = all(as_score(value) is not None for value in given)
    return bool(given) and (numbers or marks <= _MARKS or _hold_verdicts(given))


def _rated_output(rows: Sequence[Mapping[str, Any]], verdicts: Collection[str]) -> tuple[str, set[str]]:
    """Return the column of a model's output that a rating is about, and those of right answers beside it.

    A right answer needs no rating. Empty without a rating, or without a right answer.
    """
    texts = [
        key for key in rows[0] if key not in verdicts and all(isinstance(row.get(key), str) for row in rows)
    ]
    outputs = [key for name in _OUTPUTS for key in texts if plain_name(key) == name]
    right = {key for key in texts if plain_name(key) in _RIGHT}
    rated = any(_is_rating(key, [row.get(key) for row in rows]) for key in rows[0] if key not in verdicts)
    return (outputs[0], right) if outputs and right and rated else ("", set())


def _is_rating(key: str, values: Sequence[Any]) -> bool:
    kind = KNOWN.get(flatten_name(key))
    if kind in MASKS or kind == "deleted" or not (kind or names_judgement(key)):
        return False
    given = [value for value in values if not is_empty(value)]
    # A number under `label` may be a class.
    numbers = kind != "word" and all(as_score(value) is not None for value in given)
    return bool(given) and (numbers or _hold_verdicts(given))


def _guess_conversation(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """Return the only column of turns, as `conversation` of role and content; None for none or several."""
    found = [key for key in rows[0] if plain_name(key) in _CHATS]
    if len(found) != 1 or not all(_is_chat(row.get(found[0])) for row in rows):
        return None
    first = rows[0][found[0]]
    shared = isinstance(first, list) and all("from" in turn for turn in first)
    format, name = ("sharegpt", "conversations") if shared else ("messages", "messages")
    return Guess(format, {name: found[0]})


def _is_chat(value: Any) -> bool:
    if isinstance(value, str):
        return holds_turns_text(value)
    return isinstance(value, list) and is_turn_list(value) and all(turn.keys() & ROLE_KEYS for turn in value)


def _with_annotator(columns: Mapping[str, str], row: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns with that of the annotator, if the row has one of a common name."""
    names = {plain_name(key): key for key in row if key not in columns.values()}
    who = next((names[name] for name in NAMES["annotator"] if name in names), "")
    return {**columns, **({"annotator": who} if who and who != "annotator" else {})}


def _guess_scored(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """Return the columns of two answers with a rank or a score each, from which their choice follows."""
    keys = list(rows[0])
    sides = answer_columns(keys)
    if not sides or "choice" in map(plain_name, keys):
        return None
    others = {key: [row.get(key) for row in rows] for key in keys if key not in sides}
    fields = propose_scores(others, *sides)
    names = {plain_name(key): key for key in others if key not in fields}
    prompt = next((names[name] for name in NAMES["prompt"] if name in names), "")
    if not fields or not (prompt or set(flatten_name(sides[0]).split("_")) & CONVERSATIONS):
        return None
    found = {"prompt": prompt, "a": sides[0], "b": sides[1]}
    named = {name: key for name, key in found.items() if key and name != key}
    return Guess("rows", _with_annotator(named, rows[0]), fields)
