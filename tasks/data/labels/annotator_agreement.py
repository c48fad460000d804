"""Measure the agreement of annotators on what they rate, item by item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from math import inf, sqrt


class Agreement:
    """Agreement between annotators on the items of one aspect and source. It keeps sums instead of items.

    Args:
        mirrored: Whether a score of an item is the negative of its score in the other order, as of two
            compared answers. Chance then counts both orders, so that it does not matter which is first.
    """

    def __init__(self, mirrored: bool = False) -> None:
        self._mirrored = mirrored
        self.items = self.ratings = 0
        self.shared_items = 0  # items with more than one score
        self.annotators: set[str] = set()
        self._shared = 0  # scores of items with more than one score
        self._sum = self._squares = self._within = 0.0
        # Sums of products of an item's four statistics, from which the alpha's variance follows.
        self._products = [0.0] * 16
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
            within = _squared_differences(len(scores), squares, total) / (len(scores) - 1)
            self._within += within
            self._shared += len(scores)
            self.shared_items += 1
            found = (within, float(len(scores)), total, squares)
            self._products = [
                before + one * other
                for before, (one, other) in zip(self._products, product(found, found), strict=True)
            ]
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
        expected = self._spread / (self._shared * (self._shared - self._unit))
        # All scores are equal: there is no disagreement, and the quotient would be 0 / 0.
        return 1.0 if expected == 0 else 1 - observed / expected

    @property
    def _spread(self) -> float:
        """The sum of squared differences of any two scores. Both orders of all items have a mean of 0."""
        return _squared_differences(self._shared, self._squares, 0.0 if self._mirrored else self._sum)

    @property
    def _unit(self) -> float:
        """The score itself, which is not compared with itself: one of twice as many with both orders."""
        return 0.5 if self._mirrored else 1.0

    @property
    def alpha_interval(self) -> tuple[float, float] | None:
        """The 95% interval of `krippendorff_alpha` over items; None if it cannot be estimated.

        The alpha is a function of four sums over items. Its variance follows from theirs by the delta method,
        with Student's t for few items. If people agree on every item, or on none, nothing varies.
        """
        items, count, spread, total = self.shared_items, self._shared, self._spread, self._sum
        others = count - self._unit
        if items < 3 or not 0 < spread < inf:
            return None
        scaled = self._within * others / spread
        # The derivatives of the alpha by the sums of within, count, score and squared score.
        slopes = (
            -others / spread,
            -self._within / spread + scaled * 2 * self._squares / spread,
            0.0 if self._mirrored else -scaled * 4 * total / spread,
            scaled * 2 * count / spread,
        )
        sums = (self._within, float(count), total, self._squares)
        variance = sum(
            slope * other_slope * (found - one * other / items)
            for found, (slope, other_slope), (one, other) in zip(
                self._products, product(slopes, slopes), product(sums, sums), strict=True
            )
        )
        if not 0 < variance < inf:
            return None
        # Imported here, as the import takes long and most runs have a cached stage.
        from scipy.special import stdtrit

        half = float(stdtrit(items - 1, 0.975)) * sqrt(variance * items / (items - 1))
        # Rounding in the sums leaves a variance of about 1e-16 where there is none.
        if half < 1e-6:
            return None
        return self.krippendorff_alpha - half, min(1.0, self.krippendorff_alpha + half)

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
