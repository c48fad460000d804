"""The interval of two models' difference on the same prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.evaluation.confidence_intervals import mean_metrics
from tasks.evaluation.score_difference import difference_interval
from tests.model.conftest import write_rows


def answers(model: str, values: list[float], metric: str = "judge") -> list[dict[str, Any]]:
    return [{"model": model, "prompt": f"{n}?", metric: value} for n, value in enumerate(values)]


def test_difference_interval_is_paired_and_narrower_than_that_of_the_scores(tmp_path: Path) -> None:
    hard = [float(n) for n in range(60)]
    better = [value + 0.1 + 0.01 * (n % 3) for n, value in enumerate(hard)]
    greedy = [{"model": "aligned", "prompt": "0?", "completion": "x"}]
    write_rows(tmp_path / "c.jsonl", [*answers("aligned", better), *answers("champion", hard), *greedy])
    found = difference_interval("judge", tmp_path / "c.jsonl", 1)
    assert found is not None and 0.1 <= found[0] < 0.11 < found[1] <= 0.12
    alone = mean_metrics("x", better, 1)
    assert alone["x_high"] - alone["x_low"] > 5
    assert difference_interval("judge", tmp_path / "c.jsonl", 1) == found


@pytest.mark.parametrize(
    ("metric", "rows"),
    [
        ("f1", [*answers("aligned", [1.0], "f1"), *answers("champion", [1.0], "f1")]),
        ("reward", [*answers("aligned", [1.0]), *answers("champion", [1.0])]),
        ("judge", answers("aligned", [1.0, 2.0])),
        ("judge", [*answers("aligned", [1.0, 2.0]), *answers("champion", [1.0])]),
    ],
    ids=["no paired metric", "no reward", "no champion", "other prompts"],
)
def test_difference_interval_without_pairs_is_unknown(
    tmp_path: Path, metric: str, rows: list[dict[str, Any]]
) -> None:
    write_rows(tmp_path / "c.jsonl", rows)
    assert difference_interval(metric, tmp_path / "c.jsonl", 1) is None
    assert difference_interval(metric, tmp_path / "missing.jsonl", 1) is None
