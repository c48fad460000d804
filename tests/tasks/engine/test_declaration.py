"""The words in which a stage's metrics are shown."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.engine.declaration import named_metrics

HEADLINE = named_metrics(
    ("accuracy", "of pairs right"), ("loss", "held-out loss"), ("ties", "ties left out"),
    ("gain", "runs won"),
    shares=("accuracy",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"accuracy": 1.0, "accuracy_n": 4.0}, "100% [n = 4] of pairs right"),
        ({"accuracy": 0.8}, "80% of pairs right"),
        (
            {"loss": 1.25, "loss_low": 1.1, "loss_high": 1.5, "loss_n": 1200.0},
            "1.250 [1.100 to 1.500, n = 1,200] held-out loss",
        ),
        ({"accuracy": 1.0, "ties": 1}, "100% of pairs right, 1 tie left out"),
        (
            {"ties": 2.0, "gain": 1.0, "gain_low": 0.5, "gain_high": 1.5, "gain_n": 9.0},
            "2 ties left out, 1 [0.500 to 1.500, n = 9] runs won",
        ),
        ({}, ""),
    ],
)
def test_named_metrics_show_n_with_or_without_interval(values: dict[str, Any], said: str) -> None:
    assert HEADLINE(values) == said
