"""Measure the agreement of annotators on what they rate, item by item."""

from __future__ import annotations

from collections.abc import Sequence


class Agreement:
    """Agreement between annotators on the items of one aspect and source. It keeps sums instead of items."""

    def __init__(self) -> None:
        self.items = self.ratings = 0
        self.annotators: set[str] = set()
        self._shared = 0  # scores of items with more than one score
        self._sum = self._squares = self._within = 0.0
        self._same = self._pairs = 0

    def add_item(self, scores: Sequence[float], annotators: Sequence[str] = ()) -> None:
        """Add an item with the scores of all its annotators."""
        self.items += 1
        self.ratings += len(scores)
        self.annotators.update(annotators)
        signs = [sum(score > 0 for score in scores), sum(score < 0 for score in scores)]
        signs.append(len(scores) - sum(signs))
        self._same += sum(n * (n - 1) for n in signs)
        self._pairs += len(scores) * (len(scores) - 1)
        if len(scores) > 1:
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
        """The share of pairs of annotators of one item whose scores have the same sign (-, 0 or +)."""
        return self._same / self._pairs if self._pairs else float("nan")


def _squared_differences(count: int, squares: float, total: float) -> float:
    # Over ordered pairs, Σ(a-b)² = 2(nΣa² - (Σa)²).
    # `total**2` would raise OverflowError for huge scores; a product is infinite.
    return 2 * (count * squares - total * total)
