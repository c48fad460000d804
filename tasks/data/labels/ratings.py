"""Select the ratings of a split, and reserve some labels for the judge."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.common.annotators import is_nobody
from tasks.common.names import is_blank, stratum_key
from tasks.data.labels.annotator_agreement import Agreement
from tasks.data.labels.judgements import canonical_choice, rating_subject
from tasks.data.records import Rating, read_shards
from tasks.data.values.label_times import time_seconds

# chatmill's own bound: a reward model that learns from fewer texts is not reliable.
LEAST_JUDGE_TEXTS = 100

MAJORITY, DAWID_SKENE = "majority", "dawid_skene"

PAIRED = 2048  # texts of one aspect and source to pair, as pairs grow with the square


@dataclass(frozen=True)
class LabelsParameters:
    """The selection of labels."""

    aspects: tuple[str, ...] = ()
    """Aspects that are used; empty: all."""

    sources: tuple[str, ...] = ()
    """Sources whose labels are used; empty: all."""

    min_annotators: int = 1
    """Fewest scores per text, 1 or more. Texts with fewer are not used."""

    # Dawid & Skene, Maximum likelihood estimation of observer error-rates, 1979.
    aggregation: str = MAJORITY
    """How judgements of the same answers by several people become one label. `majority`: the share of the
    people who chose an answer, a tie counting half, and the mean score. `dawid_skene`: each person's error
    rates are estimated from the training labels, so that people who are often wrong count less. It needs
    answers that several people judged, and scores of at most 7 different values."""

    # Krippendorff, Content analysis, 2004, chapter 11.
    min_agreement: dict[str, float] = field(default_factory=dict)
    """By aspect, the smallest Krippendorff's alpha of people's judgements, from -1 to 1, as in
    `{helpfulness: 0.4}`. If the labels of any source of that aspect have less, the run stops before it trains
    on them. Where a reviewer decided, the first judgements count. Empty: no bound."""

    margin: float = 1.0
    """Smallest difference between the mean scores of the two texts of a held-out pair, above 0."""

    max_eval_pairs: int = 2000
    """Largest number of held-out pairs per aspect and source, drawn by the seed, 1 or more."""

    min_new: int = 1
    """Fewest new labels that start the deployment `align`, 1 or more. A judgement on the label page counts
    once for the choice and once for each aspect. Fewer labels wait for the next ones; any run learns from
    them."""

    # Bai et al., Training a helpful and harmless assistant, 2022 (arXiv:2204.05862), evaluate RLHF in this
    # way.
    judge_share: float = 0.3
    """Share of the groups of training labels, from 0 to 0.5, that only the judge learns from, if a second
    reward model judges. If either part would be too small, all labels go to the first reward model, and there
    is no judge. The judge needs at least 100 texts."""

    def __post_init__(self) -> None:
        if any(map(is_blank, self.aspects)):
            said = ascii(list(self.aspects))
            raise ValueError(f"aspects is {said}, with an empty name; an empty list means all aspects")
        if min(self.min_annotators, self.max_eval_pairs, self.min_new) < 1:
            raise ValueError("min_annotators, max_eval_pairs and min_new must be at least 1")
        for aspect, least in self.min_agreement.items():
            if not -1 <= least <= 1:
                raise ValueError(f"min_agreement.{aspect} is {least}; an alpha is from -1 to 1")
        if self.aggregation not in (MAJORITY, DAWID_SKENE):
            raise ValueError(f"aggregation is {self.aggregation!a}; it must be {MAJORITY} or {DAWID_SKENE}")
        if self.margin <= 0:
            raise ValueError(f"margin is {self.margin}; it must be above 0")
        if not 0 <= self.judge_share <= 0.5:
            raise ValueError(f"judge_share is {self.judge_share}; it is a share, from 0 to 0.5")

    def select(self, aspect: str, source: str) -> bool:
        """Return whether labels of an aspect and a source are used."""
        return (not self.aspects or aspect in self.aspects) and (not self.sources or source in self.sources)


@dataclass(frozen=True)
class Kept:
    """The groups of labels to read: those of the judge, or those of the reward model."""

    share: float = 0.0
    judge: bool = False

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether a row is read. It depends only on the digest of the row's group."""
        if not self.share:
            return not self.judge
        # The prefix makes this draw independent of that of the split, which hashes the same group.
        place = int(hashlib.sha256(f"judge:{values['group']}".encode()).hexdigest()[:13], 16) / 16**13
        return (place < self.share) == self.judge


EVERY = Kept()


def find_judge_share(train: Path, parameters: LabelsParameters) -> float:
    """Return the share of groups for the judge; 0 if either part would have too few texts."""
    if not parameters.judge_share:
        return 0.0
    kept, texts = Kept(parameters.judge_share, True), {True: 0, False: 0}
    seen: set[int] = set()
    for kind, size in (("comparisons", 2), ("ratings", 1)):
        for values in read_shards(train / kind):
            if parameters.select(values["aspect"], values["source"]) and values.get("choice") != "tie":
                # Several judgements of the same answers become one label.
                subject = rating_subject(values) if size == 1 else canonical_choice(values).subject
                texts[kept.holds(values)] += size if subject not in seen else 0
                seen.add(subject)
            # Large data is read only until there is enough. Twice as many for the reward model, whose part
            # must not be the smaller one.
            if min(texts[True], texts[False] / 2) >= LEAST_JUDGE_TEXTS:
                return parameters.judge_share
    enough = texts[True] >= LEAST_JUDGE_TEXTS and texts[False] >= texts[True]
    return parameters.judge_share if enough else 0.0


class Ratings:
    """The selected ratings of a split, read one at a time, with statistics of those that were read.

    `first` has the first PAIRED of each aspect and source, `ends` the lowest and the highest score. The score
    is the mean, or that of `aggregate`. `rows` counts the rows before those of one answer are merged, and
    `unselected` the answers that the parameters leave out.
    """

    def __init__(
        self,
        split: Path,
        parameters: LabelsParameters,
        kept: Kept = EVERY,
        aggregate: Callable[[Rating], Rating] | None = None,
    ) -> None:
        self.folder, self.parameters, self.kept = split / "ratings", parameters, kept
        self.aggregate = aggregate
        self.count = self.rows = self.unselected = 0
        self.first: dict[str, list[Rating]] = defaultdict(list)
        self.ends: dict[str, tuple[float, float]] = {}

    def read(self, agreed: dict[str, Agreement] | None = None) -> Iterator[Rating]:
        """Yield each rating, and count the agreement of annotators in `agreed` by "aspect/source"."""
        self.rows = self.unselected = 0
        for row in whole_ratings(self.folder, self.kept, self._count_rows):
            wanted = self.parameters.select(row.aspect, row.source)
            if not wanted or len(row.scores) < self.parameters.min_annotators:
                self.unselected += 1
                continue
            stratum = stratum_key(row.aspect, row.source)
            if agreed is not None:
                agreed[stratum].add_item(row.scores, row.annotators)
            if self.aggregate:
                row = self.aggregate(row)
            if len(self.first[stratum]) < PAIRED:
                self.first[stratum].append(row)
            low, high = self.ends.get(stratum, (row.score, row.score))
            self.ends[stratum] = min(low, row.score), max(high, row.score)
            self.count += 1
            yield row

    def _count_rows(self, rows: int) -> None:
        self.rows = rows


def whole_ratings(
    folder: Path, kept: Kept = EVERY, on_rows: Callable[[int], None] | None = None
) -> Iterator[Rating]:
    """Yield the ratings of a folder of shards, with all rows about one answer merged.

    Merged ratings come last. The rows are read twice, so that only those to merge are kept in memory.
    `on_rows` gets their number before the first rating.
    """

    def rows() -> Iterator[dict[str, Any]]:
        return (values for values in read_shards(folder) if kept.holds(values))

    subjects = np.fromiter((rating_subject(values) for values in rows()), np.uint64)
    if on_rows:
        on_rows(len(subjects))
    known, counts = np.unique(subjects, return_counts=True)
    several = frozenset(known[counts > 1].tolist())
    held: dict[int, Rating] = {}
    for values in rows():
        subject, row = rating_subject(values), Rating(**values)
        # Rows of one answer may lie far apart, as rows are sorted by id.
        if subject not in several:
            yield _each_once(row)
        elif subject not in held:
            held[subject] = _with_times(row)
        else:
            before, row = held[subject], _with_times(row)
            held[subject] = replace(
                before,
                scores=before.scores + row.scores,
                annotators=before.annotators + row.annotators,
                times=before.times + row.times,
            )
    yield from map(_each_once, held.values())


def _with_times(row: Rating) -> Rating:
    """Return a rating with a time for each score, empty if it is unknown."""
    return row if len(row.times) == len(row.scores) else replace(row, times=[""] * len(row.scores))


def _each_once(row: Rating) -> Rating:
    """Return a rating with one score of each named person: the newest, or the first without times."""
    if len(set(row.annotators)) == len(row.annotators) or len(row.annotators) != len(row.scores):
        return row
    row = _with_times(row)
    kept: dict[str, int] = {}
    for index, name in enumerate(row.annotators):
        # Unknown people are different people, so each of their scores stays.
        key = f"{name} {index}" if is_nobody(name) else name
        if key not in kept or time_seconds(row.times[index]) > time_seconds(row.times[kept[key]]):
            kept[key] = index
    places = sorted(kept.values())
    return replace(
        row,
        scores=[row.scores[index] for index in places],
        annotators=[row.annotators[index] for index in places],
        times=[row.times[index] for index in places],
    )
