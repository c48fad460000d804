"""Test agreement between annotators against values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tasks.data.annotator_agreement import Agreement


def counted(*items: Sequence[float]) -> Agreement:
    agreement = Agreement()
    for scores in items:
        agreement.add_item(scores, [f"person {i}" for i in range(len(scores))])
    return agreement


def test_krippendorff_alpha_known_items_match_hand_calculation() -> None:
    # By hand: 4 items of 2 scores; observed (0+1+0+1)·2/8 = 1/2; all 8 scores are 1,1,2,3,3,3,1,2:
    # the sum of squared differences of ordered pairs is 2·(8·38 - 16²) = 96, so expected is 96/56.
    items = [[1.0, 1.0], [2.0, 3.0], [3.0, 3.0], [1.0, 2.0]]
    assert counted(*items).krippendorff_alpha == pytest.approx(1 - 0.5 / (96 / 56))
    assert counted([1.0, 1.0], [2.0, 2.0]).krippendorff_alpha == 1.0
    assert counted([5.0], *items).krippendorff_alpha == counted(*items).krippendorff_alpha
    assert counted([2.0, 2.0]).krippendorff_alpha == 1.0
    assert math.isnan(counted([1.0], [2.0]).krippendorff_alpha)


def test_agreement_of_pairs_compares_signs() -> None:
    assert counted([1.0, 2.0, -1.0]).of_pairs == pytest.approx(1 / 3)
    assert counted([1.0, 3.0], [-2.0, -1.0]).of_pairs == 1.0
    assert math.isnan(counted([1.0]).of_pairs)


@pytest.mark.parametrize(
    ("items", "same"),
    [
        # Stars: 3 is the middle of 1 to 5.
        ([[1.0, 2.0], [5.0, 4.0], [1.0, 5.0], [3.0, 4.0]], 2 / 4),
        ([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]], 3 / 4),
        ([[10.0, 90.0, 80.0]], 1 / 3),
        ([[4.0, 4.0], [4.0, 4.0]], 1.0),
        ([[0.001, 0.0999], [0.07, 0.08]], 1 / 2),
    ],
)
def test_agreement_of_pairs_compares_with_middle_of_scale(items: list[list[float]], same: float) -> None:
    assert counted(*items).of_pairs == pytest.approx(same)


def test_agreement_add_item_counts_items_ratings_and_annotators() -> None:
    found = counted([1.0, 2.0, 3.0], [1.0, 2.0])
    assert (found.items, found.ratings, len(found.annotators)) == (2, 5, 3)


@pytest.mark.parametrize("scores", [[1e308, -1e308], [1e308, 1e308], [1e200, 2.0, 3.0]])
def test_krippendorff_alpha_huge_scores_raise_nothing(scores: list[float]) -> None:
    assert counted(scores, [1.0, 2.0]).ratings == len(scores) + 2
    assert not counted(scores, [1.0, 2.0]).krippendorff_alpha < -1
