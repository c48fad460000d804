"""Test scores: which of them are comparable, and which of two is better."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.evaluation.scores import Score, ScoreComparison, explain_incomparable, read_comparison

GAIN = Score("reward_gain", 0.25, True, "weights-of-judge", "labels-of-judge", "prompts-1", 64, (0.1, 0.4))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "kl"}, "figure mean reward, aligned less assistant and divergence from the assistant"),
        ({"higher_is_better": False}, "direction higher is better and lower is better"),
        ({"judge": ""}, "judge weights-of-j and none"),
        ({"judge_data": "other labels"}, "data of the judge labels-of-ju and other labels"),
        ({"prompts": "prompts-2"}, "held-out prompts prompts-1 and prompts-2"),
    ],
)
def test_explain_incomparable_names_what_differs(changes: dict[str, object], says: str) -> None:
    assert says in explain_incomparable(GAIN, replace(GAIN, **changes))


def test_explain_incomparable_value_and_interval_do_not_matter() -> None:
    assert explain_incomparable(GAIN, replace(GAIN, value=0.1, n=3, interval=None)) == ""


@pytest.mark.parametrize(
    ("mine", "other", "higher", "better"),
    [
        (0.3, 0.2, True, True), (0.3, 0.2, False, False), (0.2, 0.3, False, True), (0.2, 0.2, True, False),
        (0.2, 0.2, False, False), (math.nan, 0.1, True, False), (0.1, math.nan, False, True),
        (-math.inf, math.nan, True, True),
    ],
)  # fmt: skip
def test_score_beats_follows_direction(mine: float, other: float, higher: bool, better: bool) -> None:
    assert Score("x", mine, higher).beats(Score("x", other, higher)) is better


def test_read_comparison_returns_what_was_written(tmp_path: Path) -> None:
    assert read_comparison(tmp_path) is None
    for found in (
        ScoreComparison(GAIN, replace(GAIN, value=0.1), "digest-of-champion"),
        ScoreComparison(replace(GAIN, interval=None), None, "", "the champion's model is missing in MLflow"),
    ):
        (tmp_path / "verdict.json").write_text(json.dumps({"passed": True, "comparison": found.plain()}))
        assert read_comparison(tmp_path) == found
    (tmp_path / "verdict.json").write_text('{"passed": true}')
    assert read_comparison(tmp_path) is None
    assert str(GAIN) == "0.25 [0.1, 0.4] (n = 64)"
