"""The judgements of people on answers, by aspect and source, as arrays: there may be millions."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tasks.common.annotators import is_nobody, visible_name
from tasks.common.names import stratum_key
from tasks.data.labels.annotator_agreement import Agreement
from tasks.data.records import Rating, annotators_of, text_digest

# People without a name, whose number nobody knows.
UNNAMED_PEOPLE = ""
# The values of a comparison: the first answer in canonical order is better, a tie, the second one is.
BETTER, TIED, WORSE = 1, 0, -1
_VALUES = {"a": BETTER, "tie": TIED, "b": WORSE}


class ComparedAnswers(NamedTuple):
    """Two compared answers in canonical order, which is the same for both orders of presentation.

    Attributes:
        subject: The number of the pair: equal for the same answers, prompt, history, aspect and source.
        value: 1 if the first answer in canonical order was chosen, 0 for a tie, -1 for the second one.
        turned: Whether the row shows the answers in the other order.
    """

    subject: int
    value: int
    turned: bool


def canonical_choice(row: Mapping[str, Any]) -> ComparedAnswers:
    """Return what a row of data/comparisons is about, and its choice in canonical order."""
    # Annotators may see the two answers in either order; sorting gives both orders one subject and one sign.
    first, second = sorted((row["a"], row["b"]))
    turned = row["a"] != first
    about = (row.get("history") or "", row["prompt"], first, second, row["aspect"], row["source"])
    value = _VALUES[row["choice"]] * (-1 if turned else 1)
    return ComparedAnswers(int(text_digest(*about), 16), value, turned)


def rating_subject(row: Mapping[str, Any]) -> int:
    """Return a number for the answer, the aspect and the source that a row of data/ratings is about."""
    names = ("history", "prompt", "completion", "aspect", "source")
    return int(text_digest(*(row.get(name) or "" for name in names)), 16)


class JudgementTable(NamedTuple):
    """The judgements of one aspect and source, sorted by subject, person and value.

    Attributes:
        subjects: The numbers of what was judged, ascending, [I].
        items: The index of each judgement's subject, [J].
        people: The index of each judgement's person, [J].
        values: The judgements, [J].
        names: The people by name; `UNNAMED_PEOPLE` stands for all without a name.
    """

    subjects: np.ndarray
    items: np.ndarray
    people: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]

    @property
    def counts(self) -> np.ndarray:
        """The number of judgements of each subject, [I]."""
        return np.bincount(self.items, minlength=len(self.subjects))

    @property
    def means(self) -> np.ndarray:
        """The mean judgement of each subject, [I]."""
        return np.bincount(self.items, self.values, len(self.subjects)) / self.counts


class Judgements:
    """Collects judgements by aspect and source.

    Attributes:
        first: The judgements that reviewers' decisions replaced; None if there are none.
    """

    def __init__(self) -> None:
        self.first: Judgements | None = None
        # Arrays rather than lists: a Python integer takes 28 bytes.
        self._subjects: dict[str, array[int]] = defaultdict(lambda: array("Q"))
        self._people: dict[str, array[int]] = defaultdict(lambda: array("I"))
        self._values: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._numbers: dict[str, int] = {}

    def add_comparison(self, row: Mapping[str, Any]) -> None:
        """Add a comparison, a row of data/comparisons, and apart from it the judgements that it replaced."""
        found = canonical_choice(row)
        stratum = stratum_key(row["aspect"], row["source"])
        self._add(stratum, found.subject, annotators_of(row)[0], found.value)
        if row.get("first_choices"):
            self.first = self.first or Judgements()
            for name, choice in zip(row["first_annotators"], row["first_choices"], strict=True):
                value = _VALUES[choice] * (-1 if found.turned else 1)
                self.first._add(stratum, found.subject, visible_name(name), value)

    def add_rating(self, row: Rating) -> None:
        """Add each score of a rating."""
        subject, stratum = rating_subject(vars(row)), stratum_key(row.aspect, row.source)
        for index, score in enumerate(row.scores):
            name = row.annotators[index] if index < len(row.annotators) else UNNAMED_PEOPLE
            self._add(stratum, subject, visible_name(name), score)

    def _add(self, stratum: str, subject: int, name: str, value: float) -> None:
        person = UNNAMED_PEOPLE if is_nobody(name) else name
        self._subjects[stratum].append(subject)
        self._people[stratum].append(self._numbers.setdefault(person, len(self._numbers)))
        self._values[stratum].append(value)

    @property
    def strata(self) -> list[str]:
        """The aspects and sources with judgements, as "aspect/source", sorted."""
        return sorted(self._subjects)

    def columns(self, stratum: str) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Return the subjects, the names of the people and the values of the judgements of a stratum."""
        names = list(self._numbers)
        people = [names[number] for number in self._people[stratum]]
        return np.array(self._subjects[stratum], np.uint64), people, np.array(self._values[stratum])


def tabulate_judgements(stratum: str, parts: Iterable[Judgements]) -> JudgementTable:
    """Return the judgements of an aspect and source in several collections as one table.

    The table depends on the judgements alone, not on the order in which they were added.
    """
    return _make_table([part.columns(stratum) for part in parts if stratum in part.strata])


def tabulate_first_judgements(stratum: str, parts: Iterable[Judgements]) -> JudgementTable:
    """Return what people judged by themselves: as `tabulate_judgements`, with no reviewer's decision.

    A reviewer sees the others' judgements, so that a decision says nothing about agreement. The judgements
    that it replaced do.
    """
    found = []
    for part in parts:
        first = part.first.columns(stratum) if part.first and stratum in part.first.strata else None
        if stratum in part.strata:
            subjects, people, values = part.columns(stratum)
            own = np.ones(len(subjects), bool) if first is None else ~np.isin(subjects, first[0])
            found.append((subjects[own], [people[i] for i in np.flatnonzero(own)], values[own]))
        if first is not None:
            found.append(first)
    return _make_table(found)


def count_decided(stratum: str, parts: Iterable[Judgements]) -> int:
    """Return the number of compared answers of an aspect and source about which a reviewer decided."""
    found = [part.first.columns(stratum)[0] for part in parts if part.first and stratum in part.first.strata]
    return len(np.unique(np.concatenate(found))) if found else 0


def _make_table(found: list[tuple[np.ndarray, list[str], np.ndarray]]) -> JudgementTable:
    """Return columns as `Judgements.columns` has them as one table."""
    if not found:
        nothing = np.zeros(0, np.int64)
        return JudgementTable(nothing.astype(np.uint64), nothing, nothing, nothing.astype(float), ())
    subjects, items = np.unique(np.concatenate([each[0] for each in found]), return_inverse=True)
    named = [name for each in found for name in each[1]]
    names = sorted(set(named))
    number = {name: index for index, name in enumerate(names)}
    people = np.array([number[name] for name in named], np.int64)
    values = np.concatenate([each[2] for each in found])
    order = np.lexsort((values, people, items))
    return JudgementTable(subjects, items[order], people[order], values[order], tuple(names))


class Estimates(Mapping[int, float]):
    """A number for each subject."""

    def __init__(self, subjects: np.ndarray, values: np.ndarray) -> None:
        order = np.argsort(subjects)
        self._subjects, self._values = subjects[order], values[order]

    def __getitem__(self, subject: int) -> float:
        place = int(np.searchsorted(self._subjects, np.uint64(subject)))
        if place == len(self._subjects) or int(self._subjects[place]) != subject:
            raise KeyError(subject)
        return float(self._values[place])

    def __iter__(self) -> Iterator[int]:
        return iter(self._subjects.tolist())

    def __len__(self) -> int:
        return len(self._subjects)


def measure_agreement(table: JudgementTable, least: int = 1) -> Agreement:
    """Return the agreement on the compared answers of a table that have at least so many judgements."""
    agreement = Agreement(mirrored=True)
    bounds = np.cumsum(table.counts)[:-1]
    for values in np.split(table.values, bounds) if len(table.subjects) else ():
        if len(values) >= least:
            agreement.add_item(values.tolist())
    agreement.annotators = set(table.names)
    return agreement
