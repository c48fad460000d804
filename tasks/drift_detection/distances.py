"""Distances between two distributions, computed from counts, and the distances that chance alone gives.

`chance` is the value that 99 of 100 pairs of samples of these sizes, drawn from one distribution, stay below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BEYOND = 0.01


@dataclass(frozen=True)
class Distance:
    """A distance from 0 (equal) to 1 (disjoint), and the distance that chance alone may give."""

    value: float
    chance: float


def kolmogorov_smirnov(before: Sequence[float], now: Sequence[float]) -> Distance:
    """Return the largest gap between two cumulative distributions of counts over the same ordered bins.

    Smirnov, Table for estimating the goodness of fit of empirical distributions, 1948. With bins, the gap is
    a lower bound of the gap between single values.

    Args:
        before: Counts by bin.
        now: Counts by the same bins.

    Raises:
        ValueError: All counts of one side are 0.
    """
    # scipy is imported late: the import takes long, and a cached stage does not need it.
    from scipy.special import kolmogi

    first, second, sizes = _aligned_counts(before, now)
    gap = float(np.abs(np.cumsum(first) / sizes[0] - np.cumsum(second) / sizes[1]).max())
    return Distance(gap, float(kolmogi(BEYOND)) * math.sqrt(sum(1 / size for size in sizes)))


def jensen_shannon(before: Sequence[float], now: Sequence[float]) -> Distance:
    """Return the square root of the Jensen-Shannon divergence of counts over the same names.

    Lin, Divergence measures based on the Shannon entropy, 1991. The root is a metric (Endres and Schindelin,
    2003). Chance follows from the G-test: 2 n JS is approximately chi-squared.

    Args:
        before: Counts by name.
        now: Counts by the same names.

    Raises:
        ValueError: All counts of one side are 0.
    """
    from scipy.special import chdtri, rel_entr

    first, second, sizes = _aligned_counts(before, now)
    p, q = first / sizes[0], second / sizes[1]
    mean = (p + q) / 2
    # In bits, so that the divergence is at most 1.
    bits = float((rel_entr(p, mean) + rel_entr(q, mean)).sum()) / (2 * math.log(2))
    freedom = int(np.count_nonzero(mean)) - 1
    # Of a single name the counts cannot differ, and chi-squared needs a degree of freedom.
    quantile = float(chdtri(freedom, BEYOND)) if freedom else 0.0
    by_chance = quantile * sum(1 / size for size in sizes) / (8 * math.log(2))
    # Rounding puts the divergence of nearly equal counts below 0; `scipy.spatial.distance.jensenshannon`
    # returns NaN there.
    return Distance(math.sqrt(max(0.0, bits)), min(1.0, math.sqrt(by_chance)))


def laid_out(before: Mapping[str, float], now: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """Return two mappings of counts as two lists over the same names, in sorted order."""
    names = sorted({*before, *now})
    return [before.get(name, 0) for name in names], [now.get(name, 0) for name in names]


def _aligned_counts(
    before: Sequence[float], now: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    first, second = np.asarray(before, dtype=float), np.asarray(now, dtype=float)
    sizes = float(first.sum()), float(second.sum())
    if not all(sizes):
        raise ValueError("a distribution without counts has no distance from another")
    return first, second, sizes
