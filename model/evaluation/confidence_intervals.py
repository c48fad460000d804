"""95% intervals of metrics: Wilson's for shares, the percentile bootstrap for means and ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Enough that the ends of a 95% interval rest on 50 samples each.
RESAMPLES = 2000
Z = 1.96


def wilson_interval(wins: float, trials: int, z: float = Z) -> tuple[float, float]:
    """Return the interval of a share of wins, by default at 95%.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927. Unlike the
    normal interval it stays inside 0 and 1. Ties that count as half a win make it slightly too wide.

    Args:
        wins: The number of wins; ties may count half.
        trials: The number of trials, above 0.
        z: The quantile of the normal distribution.
    """
    share = wins / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # Rounding may exceed 0 or 1 slightly.
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_ratio(numerators: np.ndarray, denominators: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the interval of the sum of one column divided by the sum of another, rows drawn together.

    Efron & Tibshirani, An introduction to the bootstrap, 1993, chapter 13. The same seed gives the same ends.

    Args:
        numerators: [n] values.
        denominators: [n] values of the same rows.
        seed: The seed of the resampling.
    """
    # Rows are drawn, not values: numerator and denominator of a row stay together.
    rows = np.random.default_rng(seed).integers(len(numerators), size=(RESAMPLES, len(numerators)))
    ratios = numerators[rows].sum(1) / denominators[rows].sum(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def mean_metrics(name: str, values: Sequence[float], seed: int) -> dict[str, float]:
    """Return the mean of values as a metric with its interval and their number; empty for no values."""
    if not len(values):
        return {}
    column = np.asarray(values, dtype=float)
    low, high = bootstrap_ratio(column, np.ones_like(column), seed)
    return with_interval(name, float(column.mean()), (low, high), len(column))


def share_metrics(name: str, flags: Sequence[float]) -> dict[str, float]:
    """Return the share of rows that are 1 as a metric with Wilson's interval and the number of rows."""
    if not len(flags):
        return {}
    total = float(sum(flags))
    return with_interval(name, total / len(flags), wilson_interval(total, len(flags)), len(flags))


def with_interval(name: str, value: float, interval: tuple[float, float], n: int) -> dict[str, float]:
    """Return a metric, the ends of its interval and its n as NAME, NAME_low, NAME_high and NAME_n."""
    low, high = interval
    return {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_n": float(n)}


def gain_metrics(name: str, after: Sequence[float], before: Sequence[float], seed: int) -> dict[str, float]:
    """Return the mean difference of two models' scores, prompt by prompt, with its interval."""
    return mean_metrics(name, [a - b for a, b in zip(after, before, strict=True)], seed)
