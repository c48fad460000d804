"""Wilson intervals of shares, and the seeded bootstrap of means and ratios."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.confidence_intervals import (
    bootstrap_ratio,
    mean_metrics,
    pair_interval,
    pair_metrics,
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


def all_pairs(scores: np.ndarray, guesses: np.ndarray) -> tuple[list[float], list[int], list[int]]:
    """Return for each two texts with different scores whether the guesses order them so, and the texts."""
    first, second = np.triu_indices(len(scores), 1)
    differ = scores[first] != scores[second]
    first, second = first[differ], second[differ]
    right = (scores[first] - scores[second]) * (guesses[first] - guesses[second]) > 0
    return right.astype(float).tolist(), first.tolist(), second.tolist()


@pytest.mark.parametrize(("texts", "levels"), [(12, 10), (40, 2), (70, 10)])
def test_pair_interval_of_guesses_is_seldom_above_one_half(texts: int, levels: int) -> None:
    random = np.random.default_rng(texts)
    robust = naive = 0
    for _ in range(400):
        found = all_pairs(random.integers(levels, size=texts).astype(float), random.normal(size=texts))
        robust += pair_interval(*found)[0] > 0.5
        naive += wilson_interval(sum(found[0]), len(found[0]))[0] > 0.5
    # An interval at 95% is above the true value in 2.5% of cases; few texts and few draws add some.
    assert robust <= 0.075 * 400
    assert naive >= 0.12 * 400, "as if each pair were of texts of its own"


@pytest.mark.parametrize("texts", [20, 60, 120])
def test_pair_interval_contains_true_share_of_a_good_order(texts: int) -> None:
    random = np.random.default_rng(texts)
    held = []
    for _ in range(300):
        scores = random.normal(size=texts)
        # Two standard normal values with a correlation of 1/sqrt(2) agree on 3/4 of pairs (Kendall, 1938).
        held.append(pair_interval(*all_pairs(scores, scores + random.normal(size=texts))))
    assert np.mean([low <= 0.75 <= high for low, high in held]) > 0.87


@pytest.mark.parametrize(("wins", "pairs"), [(7, 10), (30, 50), (350, 400)])
def test_pair_interval_of_pairs_without_common_text_is_near_wilson(wins: int, pairs: int) -> None:
    right = [1.0] * wins + [0.0] * (pairs - wins)
    found = pair_interval(right, list(range(pairs)), list(range(pairs, 2 * pairs)))
    assert found == pytest.approx(wilson_interval(wins, pairs), abs=0.03)


@pytest.mark.parametrize("times", [2, 5, 40])
def test_pair_interval_repeated_pairs_say_no_more_than_one_of_each(times: int) -> None:
    once = pair_interval([1.0, 1.0, 0.0, 1.0], [0, 2, 4, 6], [1, 3, 5, 7])
    again = pair_interval([1.0, 1.0, 0.0, 1.0] * times, [0, 2, 4, 6] * times, [1, 3, 5, 7] * times)
    assert again[1] - again[0] >= 0.95 * (once[1] - once[0])


@pytest.mark.parametrize(("texts", "above"), [(2, False), (4, False), (8, True)])
def test_pair_interval_all_right_counts_texts_and_not_pairs(texts: int, above: bool) -> None:
    found = all_pairs(np.arange(texts, dtype=float), np.arange(texts, dtype=float))
    low, high = pair_interval(*found)
    assert (low > 0.5) is above and high == pytest.approx(1.0)


def test_pair_metrics_keeps_number_of_pairs() -> None:
    found = pair_metrics("order", *all_pairs(np.arange(5.0), np.array([0.0, 2.0, 1.0, 3.0, 4.0])))
    assert (found["order"], found["order_n"]) == (0.9, 10)
    assert found["order_low"] < 0.9 < found["order_high"]
    assert pair_metrics("order", [], [], []) == {}


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
