"""Find a file whose scores change their scale midway, as from 1 to 5 in its first rows to 0 to 100 below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import lgamma

from tasks.data.values.file_scales import LONGER_SCALES
from tasks.data.values.key_text import ascii_controls, shown_key, yaml_key

_MOST_FILES = 1000
_LEAST = 5  # scores on each side of a change
# The logarithm of 1 in 10,000. Two ends of a file and two scales are tested, so that of 2,500 columns in a
# random order at most one is asked about.
_RARE = -9.21
_HUNDRED = 50  # a score from which a scale is no scale of ten


@dataclass
class _Run:
    """Scores in a row that are on the short scale."""

    count: int = 0
    first: float = 0.0
    last: float = 0.0
    rises: bool = True
    falls: bool = True
    has_end: bool = False

    def add(self, score: float, end: float) -> None:
        self.join(_Run(1, score, score, has_end=score == end))

    def join(self, after: _Run) -> None:
        """Add the run that follows."""
        if not after.count:
            return
        if self.count:
            self.rises = self.rises and after.rises and self.last <= after.first
            self.falls = self.falls and after.falls and self.last >= after.first
        else:
            self.first, self.rises, self.falls = after.first, after.rises, after.falls
        self.count, self.last = self.count + after.count, after.last
        self.has_end = self.has_end or after.has_end


@dataclass
class _Order:
    """The scores of a file in relation to the end of a short scale.

    `head` are those before the first score beyond it, and `tail` those after the last. Without such a score
    both are all of them.
    """

    count: int = 0
    beyond: int = 0
    most: float = float("-inf")
    head: _Run = field(default_factory=_Run)
    tail: _Run = field(default_factory=_Run)
    first: str = ""
    last: str = ""

    def add(self, score: float, end: float, where: str) -> None:
        self.count, self.most = self.count + 1, max(self.most, score)
        if score > end:
            self.beyond, self.first, self.last = self.beyond + 1, self.first or where, where
            self.tail = _Run()
            return
        self.tail.add(score, end)
        if not self.beyond:
            self.head.add(score, end)

    def join(self, after: _Order) -> None:
        """Add the scores that follow."""
        if not self.beyond:
            self.head.join(after.head)
        if after.beyond:
            self.tail, self.last = after.tail, after.last
        else:
            self.tail.join(after.tail)
        self.first = self.first or after.first
        self.count, self.beyond = self.count + after.count, self.beyond + after.beyond
        self.most = max(self.most, after.most)

    def changes(self, run: _Run, longer: float) -> bool:
        """Return whether a run at an end of the file is on another scale than the scores beyond it.

        It reaches the end of its scale, and would hardly be so long if the order were random. Sorted scores
        are on one scale. On a scale to ten, some scores beyond the run are small too.
        """
        if not self.beyond or self.most < longer or not run.has_end or run.rises or run.falls:
            return False
        others = self.count - run.count
        if min(run.count, others) < _LEAST or (self.most < _HUNDRED and others == self.beyond):
            return False
        small = self.count - self.beyond
        likely = lgamma(small + 1) - lgamma(small - run.count + 1)
        likely -= lgamma(self.count + 1) - lgamma(self.count - run.count + 1)
        return likely < _RARE


@dataclass
class ScaleChanges:
    """The order of the scores of each file, by aspect, file and the end of a short scale."""

    orders: dict[tuple[str, str, int], _Order] = field(default_factory=dict)

    def note(self, aspect: str, where: str, scores: Sequence[float]) -> None:
        """Record the scores of a row at a place such as `a.csv, line 3`."""
        for end in LONGER_SCALES:
            if order := self._order((aspect, where.rpartition(", ")[0], end)):
                for score in scores:
                    order.add(score, end, where)

    def update(self, other: ScaleChanges) -> None:
        """Add the scores of the part that follows."""
        for key, after in other.orders.items():
            if order := self._order(key):
                order.join(after)

    def _order(self, key: tuple[str, str, int]) -> _Order | None:
        if key not in self.orders and len(self.orders) < len(LONGER_SCALES) * _MOST_FILES:
            self.orders[key] = _Order()
        return self.orders.get(key)

    def questions(self, key: str) -> list[str]:
        """Return the question about the first file whose scores change their scale."""
        for (_, _, end), order in self.orders.items():
            longer = LONGER_SCALES[end]
            if order.changes(order.head, longer):
                place, before, after = order.first, f"{end}", f"{order.most:g}"
            elif order.changes(order.tail, longer):
                place, before, after = order.last, f"{order.most:g}", f"{end}"
            else:
                continue
            return [
                f"the scores under {shown_key(key)} are up to {before} before and up to {after} after "
                f"{ascii_controls(place)}, which may be two scales. Split the file there and make each part "
                "a source of its own, or convert one; "
                f"for one scale, set fields: {{{yaml_key(key)}: verdict}}"
            ]
        return []
