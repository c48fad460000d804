"""Test distances between distributions against scipy, and their chance threshold."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.drift_detection.distances import jensen_shannon, kolmogorov_smirnov


def test_distances_match_scipy() -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import chi2, ks_2samp

    random = np.random.default_rng(3)
    one, two = random.integers(0, 12, 400), random.integers(2, 15, 300)
    counts = [np.bincount(values, minlength=15) for values in (one, two)]
    assert kolmogorov_smirnov(*counts).value == pytest.approx(ks_2samp(one, two).statistic)
    assert jensen_shannon(*counts).value == pytest.approx(jensenshannon(*counts, base=2))
    same = jensen_shannon([50, 50, 0], [100, 100, 0])
    assert same.value == 0 and same.chance**2 == pytest.approx(
        chi2.ppf(0.99, 1) * (1 / 100 + 1 / 200) / 8 / np.log(2)
    )
    with pytest.raises(ValueError, match="without counts"):
        kolmogorov_smirnov([0, 0], [1, 2])


@pytest.mark.parametrize("seed", range(8))
def test_jensen_shannon_nearly_equal_counts_give_number(seed: int) -> None:
    random = np.random.default_rng(seed)
    before = random.integers(10**6, 10**9, 40 + seed)
    now = before.copy()
    now[seed] += 1
    found = jensen_shannon(before, now)
    assert 0 <= found.value < 1e-6 and 0 < found.chance < 1e-2


def test_jensen_shannon_single_bin_is_zero() -> None:
    found = jensen_shannon([7], [900])
    assert (found.value, found.chance) == (0.0, 0.0)


def test_distances_chance_is_exceeded_once_in_hundred() -> None:
    random = np.random.default_rng(11)
    shares = random.dirichlet(np.ones(30))
    for distance in (kolmogorov_smirnov, jensen_shannon):
        beyond = 0
        for _ in range(1000):
            found = distance(random.multinomial(500, shares), random.multinomial(800, shares))
            beyond += found.value > found.chance
        # Binning makes Kolmogorov-Smirnov conservative.
        assert beyond <= 25, distance
