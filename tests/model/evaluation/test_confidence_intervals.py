"""Wilson intervals of shares, and the seeded bootstrap of means and ratios."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.confidence_intervals import (
    bootstrap_ratio,
    mean_metrics,
    share_metrics,
    wilson_interval,
)


def test_wilson_interval_equals_known_values() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-4)
    assert high == pytest.approx(1.0)


@pytest.mark.parametrize(("wins", "trials"), [(0, 3), (5, 11), (190, 200)])
def test_wilson_interval_stays_within_bounds_and_contains_share(wins: float, trials: int) -> None:
    low, high = wilson_interval(wins, trials)
    assert -1e-9 <= low <= wins / trials <= high <= 1 + 1e-9


def test_bootstrap_ratio_of_mean_is_two_standard_errors_wide() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap_ratio(values, np.ones(400), seed=5)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_ratio(values, np.ones(400), seed=5) == (low, high)
    assert bootstrap_ratio(values, np.ones(400), seed=6) != (low, high)


def test_bootstrap_ratio_draws_rows_together() -> None:
    # Every row has the same ratio, so every draw has it too.
    tokens = np.array([1.0, 50.0, 3.0, 700.0])
    assert bootstrap_ratio(2.5 * tokens, tokens, seed=1) == pytest.approx((2.5, 2.5))


@pytest.mark.parametrize("values", [[1.0], [0.25, 0.75], [-1.0, 4.0, 2.0]])
def test_mean_figures_has_interval_and_count(values: list[float]) -> None:
    found = mean_metrics("gain", values, seed=2)
    assert found["gain"] == pytest.approx(np.mean(values)) and found["gain_n"] == len(values)
    assert found["gain_low"] <= found["gain"] <= found["gain_high"]


def test_figures_of_no_rows_are_empty() -> None:
    assert mean_metrics("gain", [], seed=1) == share_metrics("ends", []) == {}
