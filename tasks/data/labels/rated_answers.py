"""Find the answers that people rated bad only, as no unrated copy of them is a right answer.

What is bad depends on the scale, which only all ratings of a source on an aspect show.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from tasks.data.records import Rating, Record, pair_row
from tasks.data.rejections import rejection_id
from tasks.data.values.verdict_scales import PENALTIES, PERCENT, PICTURES

_DENIED = -1.0  # the score of a thumb down, of `bad` and of false
_TONE = "tone"  # a sad text is no wrong one
_PART = 4  # scores in the lowest quarter of a scale are bad, as 1 and 2 of 5
Stratum = tuple[str, str]  # a source and an aspect


@dataclass
class _Scores:
    """The ratings of a source on an aspect: the answers with the best score of each rating.

    Attributes:
        answers: The rejection ids of the pairs that the ratings are about, as numbers.
        best: The best score of each rating.
        denied: The answers of ratings of which every score is -1.
        lowest: The lowest score of all.
        scales: The names of the scales, as of `scale_of`.
    """

    answers: array[int] = field(default_factory=lambda: array("Q"))
    best: array[float] = field(default_factory=lambda: array("d"))
    denied: set[int] = field(default_factory=set)
    lowest: float = float("inf")
    scales: set[str] = field(default_factory=set)

    def add(self, other: _Scores) -> None:
        self.answers.extend(other.answers)
        self.best.extend(other.best)
        self.denied |= other.denied
        self.lowest = min(self.lowest, other.lowest)
        self.scales |= other.scales

    def are_bad(self) -> np.ndarray:
        """Return which ratings call their answer bad."""
        best = np.array(self.best)
        highest, lowest = float(best.max()), self.lowest
        if PENALTIES in self.scales:
            # A rank of 1 is the best one, and 3 errors may be few. Only 1 beside 0 is a flag.
            return (best == _DENIED) & (lowest == _DENIED) & (highest >= 0)
        if lowest < 0:
            return best < 0
        named = [float(name[3:]) for name in self.scales if name.startswith("of ")]
        highest = max(highest, *named, 5.0 * (PICTURES in self.scales), 100.0 * (PERCENT in self.scales))
        # Nobody may have given the ends of a scale, which begins at 1 or at 0.
        highest = 5.0 if 3 < highest < 5 else highest
        lowest = min(lowest, 0.0 if highest <= 1 or highest > 10 else 1.0)
        return best <= lowest + (highest - lowest) / _PART if highest > lowest else best < lowest


class RatedAnswers:
    """The scores of answers by source and aspect, in 16 bytes a rating."""

    def __init__(self) -> None:
        self._strata: dict[Stratum, _Scores] = {}

    def note(self, row: Record | None) -> None:
        """Record a row, if it is a rating of an answer that can be read. None is a withdrawn row."""
        if not isinstance(row, Rating) or row.fault or row.aspect == _TONE or not row.scores:
            return
        if not all(map(isfinite, row.scores)):
            return
        pair = pair_row(row.prompt, row.completion, "", "-", (), row.history)
        scores, answer = self._scores(row.source, row.aspect), int(rejection_id(pair), 16)
        scores.answers.append(answer)
        scores.best.append(max(row.scores))
        scores.lowest = min(scores.lowest, *row.scores)
        if set(row.scores) == {_DENIED}:
            scores.denied.add(answer)

    def note_scales(self, source: str, scales: Mapping[str, Iterable[str]]) -> None:
        """Record the names of the scales of a source's scores by aspect."""
        for aspect, names in scales.items():
            self._scores(source, aspect).scales.update(names)

    def add(self, other: RatedAnswers) -> None:
        """Add the ratings of another part."""
        for (source, aspect), scores in other._strata.items():
            self._scores(source, aspect).add(scores)

    def rejected(self) -> set[str]:
        """Return the rejection ids of answers with bad ratings only, or with a rating of -1 throughout."""
        bad, good = set[int](), set[int]()
        denied = set[int]()
        for scores in self._strata.values():
            if not scores.answers:
                continue
            answers, are_bad = np.array(scores.answers, np.uint64), scores.are_bad()
            bad.update(answers[are_bad].tolist())
            if PENALTIES not in scores.scales:
                good.update(answers[~are_bad].tolist())
                denied |= scores.denied
        return {f"{answer:016x}" for answer in denied | (bad - good)}

    def _scores(self, source: str, aspect: str) -> _Scores:
        return self._strata.setdefault((source, aspect), _Scores())


def bad_answers(parts: Collection[RatedAnswers]) -> set[str]:
    """Return the rejection ids of the answers that people rated bad only, over all sources."""
    whole = RatedAnswers()
    for part in parts:
        whole.add(part)
    return whole.rejected()
