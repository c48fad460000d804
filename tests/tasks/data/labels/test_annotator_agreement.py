"""Test agreement between annotators against values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tasks.data.labels.annotator_agreement import Agreement


def counted(*items: Sequence[float], mirrored: bool = False) -> Agreement:
    agreement = Agreement(mirrored)
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


def random_items(count: int, seed: int) -> list[list[float]]:
    """Return two to four choices of each item, of people who are right six times in ten."""
    random = np.random.default_rng(seed)
    truth = random.choice([-1.0, 0.0, 1.0], count, p=[0.4, 0.2, 0.4])
    return [
        [
            float(true if random.random() < 0.6 else random.choice([-1, 0, 1]))
            for _ in range(random.integers(2, 5))
        ]
        for true in truth
    ]


def test_krippendorff_alpha_equals_the_package() -> None:
    krippendorff = pytest.importorskip("krippendorff")
    for seed in range(5):
        items = random_items(30, seed)
        table = np.full((4, len(items)), np.nan)
        for index, scores in enumerate(items):
            table[: len(scores), index] = scores
        wanted = krippendorff.alpha(table, level_of_measurement="interval")
        assert counted(*items).krippendorff_alpha == pytest.approx(wanted, abs=1e-12)


def test_krippendorff_alpha_mirrored_equals_the_package_on_both_orders() -> None:
    krippendorff = pytest.importorskip("krippendorff")
    for seed in range(5):
        # Most first answers are better, by which chance alone would seem to agree.
        items = [[abs(score) if seed else score for score in scores] for scores in random_items(30, seed)]
        table = np.full((4, len(items)), np.nan)
        for index, scores in enumerate(items):
            table[: len(scores), index] = scores
        wanted = krippendorff.alpha(np.hstack([table, -table]), level_of_measurement="interval")
        assert counted(*items, mirrored=True).krippendorff_alpha == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("mirrored", [False, True])
def test_agreement_alpha_interval_is_as_wide_as_bootstrap(mirrored: bool) -> None:
    items = random_items(150, seed=1)
    random = np.random.default_rng(2)
    draws = [random.integers(len(items), size=len(items)) for _ in range(400)]
    drawn = [counted(*(items[i] for i in rows), mirrored=mirrored).krippendorff_alpha for rows in draws]
    found = counted(*items, mirrored=mirrored).alpha_interval
    assert found is not None
    assert found == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.03)


def test_agreement_alpha_interval_covers_true_alpha() -> None:
    true = counted(*random_items(20_000, seed=3)).krippendorff_alpha
    intervals = [counted(*random_items(40, seed)).alpha_interval for seed in range(100, 300)]
    covered = [ends is not None and ends[0] <= true <= ends[1] for ends in intervals]
    assert 0.88 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize(
    "items",
    [
        [[1.0, 2.0]], [[1.0], [2.0], [3.0]], [[1.0, 1.0]] * 9, [[1.0, 1.0], [2.0, 2.0]] * 9,
        [[1e308, -1e308], [1.0, 2.0], [2.0, 2.0]],
    ],
)  # fmt: skip
def test_agreement_alpha_interval_without_variance_is_none(items: list[list[float]]) -> None:
    assert counted(*items).alpha_interval is None
