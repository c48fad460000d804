"""The judge knows good from bad, and the interval of a win rate is Wilson's."""

from __future__ import annotations

import pytest

from tasks.judge import compare, judge, wilson_interval


def test_tone_is_ordered() -> None:
    bad, plain, good, empty = judge(["a dull, awful mess", "a film", "a beautiful, moving film", ""])
    assert -1 <= bad < plain < good <= 1
    assert plain == empty == 0


def test_paired_comparison_counts_ties_as_half() -> None:
    verdict = compare([0.0, 0.5, 0.2, 0.0], [0.4, 0.1, 0.2, 0.8])
    assert verdict.win_rate == pytest.approx((2 + 0.5) / 4)
    assert verdict.gain == pytest.approx(0.375 - 0.175)
    assert verdict.low < verdict.win_rate < verdict.high


def test_wilson_interval() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-4)
    assert high == pytest.approx(1.0)


def test_scores_of_different_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="same prompts"):
        compare([0.1], [0.1, 0.2])
    with pytest.raises(ValueError):
        compare([], [])
