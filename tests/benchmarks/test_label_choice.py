"""The figures of the benchmark of chosen labels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.label_choice import SIZES, labels_ratio


@pytest.mark.parametrize("times", [1.0, 2.0, 0.5])
def test_labels_ratio_of_known_curves_is_known(times: float) -> None:
    random = 0.5 + 0.02 * np.log(SIZES)
    # Each size of the chosen arm reaches what the random arm reaches with so many times more labels.
    assert labels_ratio(random, random + 0.02 * np.log(times)) == pytest.approx(times)


def test_labels_ratio_without_learning_is_unknown() -> None:
    assert np.isnan(labels_ratio(np.array([0.6, 0.59, 0.58, 0.57]), np.array([0.6, 0.6, 0.6, 0.6])))
