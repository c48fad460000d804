"""Find the column that names who gave a label, by its values where no table knows its name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.common.aspects import KNOWN_ASPECTS
from tasks.common.counts import counted
from tasks.data.questions.vote_cells import SIDE_VALUES
from tasks.data.records import text_digest
from tasks.data.values.annotators import ANNOTATORS, RATERS, normalize_annotator
from tasks.data.values.choices import is_undecided
from tasks.data.values.column_names import yaml_scalar
from tasks.data.values.field_meanings import (
    ACCEPT,
    FALSE,
    IGNORE,
    NEGATIVE,
    POSITIVE,
    REJECT,
    TIME_WORDS,
    TRUE,
    flatten_name,
    is_empty,
    plain_word,
    word_set,
)
from tasks.data.values.key_text import format_sample, shown_key
from tasks.data.values.label_times import iso_time
from tasks.data.values.score_values import as_score, is_date
from tasks.data.verdicts.verdict_values import NOBODY, QUANTITIES, is_judgement

# The columns of a label's texts, by which two labels are about the same answers.
_TEXTS = (
    "prompt", "completion", "a", "b", "chosen", "rejected", "instruction", "input", "output", "messages",
    "conversations", "preferred_output", "non_preferred_output",
)  # fmt: skip
# Words before a person, and what the person did. Alone, or with such a verb, they name who judged.
_BY = word_set("by person von durch par por per da door")
_JUDGED = word_set(
    """
    annotated assessed checked coded did done evaluated graded judged labeled labelled marked rated reviewed
    scored tested voted annotiert bearbeitet beurteilt bewertet gepruft note evalue juge evaluado valutato
    avaliado beoordeeld
    """
)
# What a number of a person is called. A quantity may have such a name too.
_NUMBERED = word_set("code id name no nr num number")
# Words of a column that says what an answer is, is about, or was made by, and of when or where.
_PROPERTIES = (NOBODY | QUANTITIES | TIME_WORDS) - _NUMBERED | frozenset(
    plain_word(word)
    for word in word_set(
        """
            asked asker aspect batch campaign channel city class client company country
            criterion customer dataset dept department difficulty domain emotion experiment
            format gender genre intent label level license locale location mode phase platform
            policy product project region role round scenario series session set sex skill split
            stage style subject task theme title tone topics unit url writer written wrote
            generated abteilung anbieter art aspekt fragt gefragt geschrieben bereich branche
            dimension datensatz fach gattung geschlecht gruppe herkunft kanal kategorie klasse
            kriterium kunde kundin land modell modus ort produkt projekt quelle rolle runde
            schwierigkeit sprache stadt stil stimmung stufe teil thema themen ton typ categorie
            catégorie critère domaine groupe langue modèle niveau pays produit projet région
            sexe sujet thème ville aspecto categoría categoria criterio ciudad cliente dominio
            fuente género grupo idioma modelo nivel país pais producto proyecto sexo tema tipo
            aspetto città fonte genere gruppo lingua livello modello paese prodotto assunto
            cidade língua nível produto onderwerp taal bron groep soort
            """
    )
)
# Values that are a language, or the name of a model.
_LANGUAGES = word_set(
    """
    ar cs da de el en es fi fr he hi hu it ja ko nl no pl pt ro ru sv tr uk vi zh deu eng fra fre ger ita spa
    arabic chinese danish deutsch dutch englisch english espanol francais franzosisch french german hindi
    italian italiano japanese korean polish portuguese russian spanish turkish
    """
)
_MODEL = re.compile(
    r"(?i).*(?:gpt|llama|claude|mistral|mixtral|gemini|gemma|qwen|phi-|smollm|deepseek|falcon|palm|bert|opus|"
    r"sonnet|haiku|\d+b\b|checkpoint|ckpt|baseline|sft|rlhf|dpo|ppo).*"
)
_VERDICTS = POSITIVE | NEGATIVE | ACCEPT | REJECT | IGNORE | TRUE | FALSE | SIDE_VALUES
_LONGEST = 40  # characters of a name
_MOST_WORDS = 4
_MOST_PEOPLE = 200
_FILLED = 0.8  # the least share of rows that name somebody
_ONCE = 0.25  # the share of people who may have given one label only
_TWICE = 0.1  # the share of items that one person may have judged twice
_SHOWN = 3  # columns that a question names


class AnnotatorChoice(NamedTuple):
    """The column that is taken for the annotator; empty for none. `note` says why, or asks."""

    column: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Column:
    """The people whom the values of a column may be.

    Attributes:
        name: The column.
        people: The number of rows with each value.
        shared: Items with several labels.
        repeated: Those of them in which a value occurs twice.
        named: Whether the name of the column is a word for who judged.
    """

    name: str
    people: Counter[str]
    shared: int
    repeated: int
    named: bool

    @property
    def apart(self) -> bool:
        """True if the labels of an item have different values, as a person judges an item once."""
        return self.shared > 1 and self.repeated <= _TWICE * self.shared

    @property
    def constant(self) -> bool:
        """True if the value belongs to the item and not to its labels, as a topic does."""
        return self.shared > 1 and self.repeated > 0.5 * self.shared

    def describe(self) -> str:
        """Return why the column names who gave the labels."""
        why = [
            f"it has {counted(len(self.people), 'different values')} in {self.people.total():,} rows, as "
            f"{format_sample(self.people.most_common(1)[0][0])}"
        ]
        if self.apart:
            why.append("the labels of one item have different ones (a person judges an item once)")
        if self.named:
            why.append("its own name is a word for a person who judges")
        return ", and ".join([", ".join(why[:-1]), why[-1]] if len(why) > 1 else why)


def choose_annotator(
    rows: Iterable[Mapping[str, Any]], among: Collection[str], columns: Mapping[str, str]
) -> AnnotatorChoice:
    """Return the only column that names who gave each label, or a question about those that may.

    The values must be few, short and repeated. One more sign is needed, as a topic is so too: the column's
    name is a word for a person who judges, or the labels of one item have different values.

    Args:
        rows: The rows of a source of labels whose annotator is not known.
        among: The columns that nothing reads.
        columns: The columns of the source by the names of its format.
    """
    texts = [columns.get(name, name) for name in _TEXTS]
    values: dict[str, list[str]] = {name: [] for name in among if not _words_of(name) & _PROPERTIES}
    numbers = dict.fromkeys(values, False)
    items: dict[str, list[int]] = defaultdict(list)
    count = 0
    for row in rows:
        if any(not is_empty(row.get(name)) for name in ANNOTATORS if name not in values):
            return AnnotatorChoice()
        for name in list(values):
            if name not in row or not _may_be_person(row[name]):
                del values[name]
                continue
            values[name].append(normalize_annotator(row[name]))
            numbers[name] = numbers[name] or as_score(row[name]) is not None
        # Sorted, as the sides of two answers may be exchanged.
        items[text_digest(*sorted(str(row.get(text)) for text in texts))].append(count)
        count += 1
    shared = [places for places in items.values() if len(places) > 1]
    found = [
        _Column(name, people, len(shared), _count_repeated(given, shared), _is_named(name))
        for name, given in values.items()
        if _are_people(people := Counter(filter(None, given)), count, name, numbers[name])
    ]
    found = [one for one in found if not one.constant]
    sure = [one for one in found if one.named or one.apart]
    if len(sure) == 1:
        (one,) = sure
        return AnnotatorChoice(
            one.name,
            f"{shown_key(one.name)} is taken for the annotator: {one.describe()}. If it is something else, "
            f"take annotator: {yaml_scalar(one.name)} out of columns.",
        )
    return AnnotatorChoice(note=_ask_which([one.name for one in sure or found]))


def _ask_which(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = [shown_key(name) for name in names[:_SHOWN]]
    more = f" (and {len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    told = f"columns: {{annotator: {yaml_scalar(names[0])}}}"
    if len(names) == 1:
        return (
            f"Does {shown[0]} name the person who gave each label? If so, add {told} to this source. "
            "Until then its labels have no annotator."
        )
    return (
        f"Which column names the person who gave each label: {', '.join(shown[:-1])} or {shown[-1]}{more}? "
        f"None is used; add it to this source, as in {told}. Until then its labels have no annotator."
    )


def _words_of(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", plain_word(flatten_name(name))))


def _is_named(name: str) -> bool:
    """Return whether a column's name is a word for a person who judges, and nothing that a row has."""
    words = _words_of(name)
    by = bool(words & _BY) and words - _BY <= _JUDGED
    return (by or bool(words & RATERS)) and not words & _PROPERTIES


def _may_be_person(value: Any) -> bool:
    """Return whether a cell is empty or names somebody: a short text on one line, or a number."""
    if is_empty(value):
        return True
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    text = str(value).strip()
    return 0 < len(text) <= _LONGEST and "\n" not in text and len(text.split()) <= _MOST_WORDS


def _are_people(people: Counter[str], rows: int, name: str, numbers: bool) -> bool:
    """Return whether the values of a column may be people: few, repeated, and nothing else that is known."""
    if not 2 <= len(people) <= min(_MOST_PEOPLE, rows // 2) or people.total() < _FILLED * rows:
        return False
    if sum(count == 1 for count in people.values()) > _ONCE * len(people):
        return False
    if any(is_date(value) or (iso_time(value) and as_score(value) is None) for value in people):
        return False
    # A person's number or letter is like a score or a side, so only the name of the column tells them.
    if _words_of(name) & RATERS:
        return True
    words = {plain_word(value) for value in people}
    said = any(word in _VERDICTS or is_judgement(word) or is_undecided(word) for word in words)
    known = words <= _LANGUAGES or words <= set(KNOWN_ASPECTS) or any(map(_MODEL.fullmatch, people))
    return not (numbers or said or known)


def _count_repeated(given: Sequence[str], shared: Sequence[Sequence[int]]) -> int:
    """Return the number of items in which a value occurs twice."""
    named = ([given[place] for place in places if given[place]] for places in shared)
    return sum(len(set(names)) < len(names) for names in named)
