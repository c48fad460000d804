"""The benchmark of aggregated labels: its people, its labels, and its interval. It trains nothing here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.data.dataloader import read_rows
from tasks.data.labels.ratings import DAWID_SKENE, MAJORITY
from tests.benchmarks.reward_aggregation import (
    JUDGES,
    PEOPLE,
    ScoredPair,
    aggregate_labels,
    judge_pairs,
    mean_interval,
    right_share,
)

PAIRS = [ScoredPair(f"good {number}", f"bad {number}", "film") for number in range(600)]


def test_judge_pairs_people_are_right_as_often_as_they_are_careful() -> None:
    rows = judge_pairs(PAIRS, np.random.default_rng(1))
    assert len(rows) == JUDGES * len(PAIRS)
    for name, at_random in PEOPLE.items():
        mine = [row for row in rows if row.annotator == name]
        right = np.mean([getattr(row, row.choice, "").startswith("good") for row in mine])
        # A random key is right in a third of the cases.
        assert right == pytest.approx(1 - at_random * 2 / 3, abs=0.07)
    assert 0.4 < np.mean([row.a.startswith("good") for row in rows]) < 0.6


def test_aggregate_labels_by_error_rates_are_more_often_right(tmp_path: Path) -> None:
    rows = judge_pairs(PAIRS, np.random.default_rng(1))
    found = {}
    for method in (MAJORITY, DAWID_SKENE):
        aggregate_labels(rows, method, PAIRS[:5], tmp_path / method)
        found[method] = right_share(tmp_path / method / "labels", PAIRS)
        held = list(read_rows(tmp_path / method / "labels" / "pairs.valid.jsonl"))
        assert [row["chosen"]["completion"] for row in held] == [pair.better for pair in PAIRS[:5]]
    assert 0.8 < found[MAJORITY] < found[DAWID_SKENE] - 0.02


def test_mean_interval_of_known_values_is_known() -> None:
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, -0.484, 4.484), abs=1e-3)
