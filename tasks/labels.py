"""People's labels, made ready for the reward model: means, pairs held out, and how far people agree."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np

from model.batches import generator
from model.errors import UserError
from model.launch import Report
from tasks.agreement import Agreement
from tasks.records import Comparison, Rating, digest, read_shards
from tasks.split import SPLITS
from tasks.stage import stage

PAIRED = 2048  # texts of one aspect and source that are paired: their pairs grow with the square


@dataclass(frozen=True)
class LabelsParameters:
    """Which labels count: `aspects` (empty: all), and texts with at least `annotators` scores.

    Held-out pairs are texts of one aspect and source whose means are at least `margin` apart, at most
    `pairs` of them a source, drawn by seed.
    """

    aspects: tuple[str, ...] = ()
    annotators: int = 1
    margin: float = 1.0
    pairs: int = 2000

    def __post_init__(self) -> None:
        if self.annotators < 1 or self.pairs < 1:
            raise ValueError("annotators and pairs must be at least 1")
        if self.margin <= 0:
            raise ValueError(f"margin is {self.margin}; it must be above 0")


@stage(inputs=("split",), reads={"split": ("*/ratings", "*/comparisons")})
def labels(
    parameters: LabelsParameters, split: Path, out: Path, report: Report, seed: int
) -> dict[str, float]:
    """SPLIT.ratings.jsonl, SPLIT.comparisons.jsonl, pairs.valid.jsonl, pairs.test.jsonl and agreement.json.

    Raises UserError where the training labels hold no preference: none at all, or all of one class.
    """
    figures: dict[str, float] = {}
    agreed: dict[str, Agreement] = defaultdict(Agreement)
    for name in SPLITS:
        ratings, comparisons = Ratings(split / name, parameters), Comparisons(split / name, parameters)
        figures[f"{name}_ratings"] = _write(out / f"{name}.ratings.jsonl", map(_rating, ratings.read(agreed)))
        figures[f"{name}_comparisons"] = _write(
            out / f"{name}.comparisons.jsonl", map(_comparison, comparisons.decided())
        )
        if name == "train":
            refuse_one_class(ratings, comparisons, parameters.margin)
        else:
            pairs = chain(rated_pairs(ratings.first, parameters, seed), map(_pair, comparisons.decided()))
            figures[f"{name}_pairs"] = _write(out / f"pairs.{name}.jsonl", pairs)
    agreement = {
        stratum: {
            "items": found.items,
            "annotators": len(found.annotators),
            "ratings": found.ratings,
            "alpha": found.alpha,
            "pair_agreement": found.of_pairs,
        }
        for stratum, found in sorted(agreed.items())
    }
    (out / "agreement.json").write_text(json.dumps(agreement, indent=1))
    return figures | {f"alpha/{stratum}": found["alpha"] for stratum, found in agreement.items()}


class Ratings:
    """The ratings of a split that count, one at a time, and what is remembered of those that were read.

    `first` holds the first PAIRED of each aspect and source, `ends` the lowest and highest mean.
    """

    def __init__(self, split: Path, parameters: LabelsParameters) -> None:
        self.folder, self.parameters = split / "ratings", parameters
        self.count = 0
        self.first: dict[str, list[Rating]] = defaultdict(list)
        self.ends: dict[str, tuple[float, float]] = {}

    def read(self, agreed: dict[str, Agreement]) -> Iterator[Rating]:
        """Each rating; `agreed` counts what people agree on, by "aspect/source"."""
        for row in whole_ratings(self.folder):
            wanted = not self.parameters.aspects or row.aspect in self.parameters.aspects
            if not wanted or len(row.scores) < self.parameters.annotators:
                continue
            stratum = f"{row.aspect}/{row.source}"
            agreed[stratum].add(row.scores, row.annotators)
            if len(self.first[stratum]) < PAIRED:
                self.first[stratum].append(row)
            low, high = self.ends.get(stratum, (row.score, row.score))
            self.ends[stratum] = min(low, row.score), max(high, row.score)
            self.count += 1
            yield row


def whole_ratings(folder: Path) -> Iterator[Rating]:
    """The ratings of a folder of shards, all of one answer as one; those that stood in several rows last."""
    subjects = np.fromiter((_subject(values) for values in read_shards(folder)), np.uint64)
    known, counts = np.unique(subjects, return_counts=True)
    several = frozenset(known[counts > 1].tolist())
    held: dict[int, Rating] = {}
    for values in read_shards(folder):
        subject, row = _subject(values), Rating(**values)
        if subject not in several:
            yield row
        elif subject not in held:
            held[subject] = row
        else:
            before = held[subject]
            held[subject] = replace(
                before,
                scores=before.scores + row.scores,
                annotators=before.annotators + row.annotators,
                times=before.times + row.times,
            )
    yield from held.values()


def _subject(values: Mapping[str, Any]) -> int:
    """What was rated, on which aspect."""
    names = ("history", "prompt", "completion", "aspect", "source")
    return int(digest(*(values.get(name) or "" for name in names)), 16)


class Comparisons:
    """The comparisons of a split that count; `ties` and `choices` are how many of those that were read."""

    def __init__(self, split: Path, parameters: LabelsParameters) -> None:
        self.folder, self.parameters = split / "comparisons", parameters
        self.ties = self.choices = 0

    def decided(self) -> Iterator[Comparison]:
        """Each comparison that is no tie."""
        self.ties = self.choices = 0
        for row in (Comparison(**values) for values in read_shards(self.folder)):
            if self.parameters.aspects and row.aspect not in self.parameters.aspects:
                continue
            if row.choice == "tie":
                self.ties += 1
            else:
                self.choices += 1
                yield row


def refuse_one_class(ratings: Ratings, comparisons: Comparisons, margin: float) -> None:
    """Raise UserError where labels hold no preference: there are none, or all are of one class."""
    count = ratings.count + comparisons.ties + comparisons.choices
    if not count:
        raise UserError(
            "there are no labels to learn preferences from; add ratings or comparisons to data.sources"
        )
    if not comparisons.choices and all(high - low < margin for low, high in ratings.ends.values()):
        raise UserError(
            f"all {count} labels are of one class: no two scores are {margin} "
            "apart and every comparison is a tie; nothing can be learned from them"
        )


def rated_pairs(
    strata: Mapping[str, Sequence[Rating]], parameters: LabelsParameters, seed: int
) -> Iterator[dict[str, Any]]:
    """Pairs of rated texts to be right about, the better text first; `gap` is the distance of their means.

    Of an aspect and source with very many texts the first by id are paired, which is as good as by chance.
    """
    for number, (_, rows) in enumerate(sorted(strata.items())):
        apart = [
            (a, b) if a.score > b.score else (b, a)
            for a, b in combinations(rows, 2)
            if abs(a.score - b.score) >= parameters.margin
        ]
        chosen = generator(seed, 11, number).permutation(len(apart))[: parameters.pairs]
        for better, worse in (apart[i] for i in sorted(chosen)):
            sides = {"chosen": _side(better), "rejected": _side(worse)}
            gap = round(better.score - worse.score, 6)
            yield {**sides, "aspect": better.aspect, "source": better.source, "gap": gap}


def _pair(row: Comparison) -> dict[str, Any]:
    """A comparison as a pair to be right about."""
    plain = _comparison(row)
    sides = {side: {**_asked(row), "completion": plain[side]} for side in ("chosen", "rejected")}
    return {**sides, "aspect": row.aspect, "source": row.source, "gap": 0.0}


def _asked(row: Rating | Comparison) -> dict[str, Any]:
    before = {"history": row.history} if row.history else {}
    return {**before, "prompt": row.prompt}


def _side(row: Rating) -> dict[str, Any]:
    return {**_asked(row), "completion": row.completion}


def _rating(row: Rating) -> dict[str, Any]:
    return {**_side(row), "score": round(row.score, 6), "aspect": row.aspect, "source": row.source}


def _comparison(row: Comparison) -> dict[str, Any]:
    chosen, rejected = (row.a, row.b) if row.choice == "a" else (row.b, row.a)
    return {
        **_asked(row), "chosen": chosen, "rejected": rejected,
        "aspect": row.aspect, "source": row.source,
    }  # fmt: skip


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
