"""How far two distributions are apart, from counts; and how far chance alone would put them.

`chance` is what 99 of 100 pairs of samples of these sizes, drawn from one distribution, stay below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BEYOND = 0.01
NORMAL = 2.326  # the normal distribution's quantile at 1 - BEYOND


@dataclass(frozen=True)
class Distance:
    """A distance from 0 (the same) to 1 (nothing in common), and the one that chance alone may give."""

    value: float
    chance: float


def kolmogorov_smirnov(before: Sequence[float], now: Sequence[float]) -> Distance:
    """The largest gap between two cumulative distributions, of counts over the same ordered bins.

    Smirnov, Table for estimating the goodness of fit of empirical distributions, 1948; with bins the gap is
    a lower bound of the one between single values. Raises ValueError where either has no counts.
    """
    first, second, sizes = _aligned_counts(before, now)
    gap = float(np.abs(np.cumsum(first) / sizes[0] - np.cumsum(second) / sizes[1]).max())
    return Distance(gap, math.sqrt(-math.log(BEYOND / 2) / 2 * sum(1 / size for size in sizes)))


def jensen_shannon(before: Sequence[float], now: Sequence[float]) -> Distance:
    """The root of the divergence of two distributions from their mean, of counts over the same names.

    Lin, Divergence measures based on the Shannon entropy, 1991; its root is a metric (Endres and Schindelin,
    2003). Chance by the G-test: 2 n JS is about chi-squared. Raises ValueError where either has no counts.
    """
    first, second, sizes = _aligned_counts(before, now)
    p, q = first / sizes[0], second / sizes[1]
    mean = (p + q) / 2
    bits = (_kl_divergence(p, mean) + _kl_divergence(q, mean)) / 2
    freedom = int(np.count_nonzero(mean)) - 1
    by_chance = _chi_squared(freedom) * sum(1 / size for size in sizes) / (8 * math.log(2))
    return Distance(math.sqrt(max(0.0, bits)), min(1.0, math.sqrt(by_chance)))


def laid_out(before: Mapping[str, float], now: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """Two counts by name as two lists over the same names, in their order."""
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


def _kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Kullback and Leibler's, in bits."""
    held = p > 0
    return float((p[held] * np.log2(p[held] / q[held])).sum())


def _chi_squared(freedom: int) -> float:
    """The quantile at 1 - BEYOND, by Wilson and Hilferty's approximation (1931)."""
    if not freedom:
        return 0.0
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + NORMAL * math.sqrt(part)) ** 3)
