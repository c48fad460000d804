"""Measure the agreement of annotators on what they rate, item by item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Agreement:
    """Agreement between annotators on the items of one aspect and source. It keeps sums instead of items."""

    def __init__(self) -> None:
        self.items = self.ratings = 0
        self.annotators: set[str] = set()
        self._shared = 0  # scores of items with more than one score
        self._sum = self._squares = self._within = 0.0
        # Ordered pairs of two people's scores of one item, to two digits, which bounds their number.
        self._pairs: Counter[tuple[float, float]] = Counter()

    def add_item(self, scores: Sequence[float], annotators: Sequence[str] = ()) -> None:
        """Add an item with the scores of all its annotators."""
        self.items += 1
        self.ratings += len(scores)
        self.annotators.update(annotators)
        if len(scores) > 1:
            given = Counter(float(f"{score:.2g}") for score in scores)
            for one, count in given.items():
                for other, others in given.items():
                    self._pairs[one, other] += count * (others - (one == other))
            squares, total = sum(score * score for score in scores), sum(scores)
            self._within += _squared_differences(len(scores), squares, total) / (len(scores) - 1)
            self._shared += len(scores)
            for score in scores:
                self._squares += score * score
                self._sum += score

    @property
    def krippendorff_alpha(self) -> float:
        """Krippendorff's alpha on an interval scale: 1 is perfect agreement, 0 is chance.

        It is 1 - observed / expected disagreement. Both are mean squared differences of two scores: of one
        item, and of any two items (Krippendorff, Content analysis, 2004, chapter 11). Items with one score do
        not count.
        """
        # One score cannot disagree with another, so there is nothing to measure.
        if self._shared < 2:
            return float("nan")
        observed = self._within / self._shared
        every = _squared_differences(self._shared, self._squares, self._sum)
        expected = every / (self._shared * (self._shared - 1))
        # All scores are equal: there is no disagreement, and the quotient would be 0 / 0.
        return 1.0 if expected == 0 else 1 - observed / expected

    @property
    def of_pairs(self) -> float:
        """The share of pairs of annotators whose scores of one item are on the same side of the scale.

        The sides are below, at and above the middle: 0 where some score is negative, and otherwise halfway
        between the lowest score and the highest.
        """
        if not self._pairs:
            return float("nan")
        scores = [score for pair in self._pairs for score in pair]
        lowest, highest = min(scores), max(scores)
        middle = 0.0 if lowest < 0 else lowest + (highest - lowest) / 2
        same = sum(
            count
            for (one, other), count in self._pairs.items()
            if (one > middle) - (one < middle) == (other > middle) - (other < middle)
        )
        return same / self._pairs.total()


def _squared_differences(count: int, squares: float, total: float) -> float:
    # Over ordered pairs, Σ(a-b)² = 2(nΣa² - (Σa)²).
    # `total**2` would raise OverflowError for huge scores; a product is infinite.
    return 2 * (count * squares - total * total)
