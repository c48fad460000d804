"""Test scores: which of them are comparable, and which of two is better."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.evaluation.scores import (
    BEYOND_CHANCE,
    Score,
    ScoreComparison,
    compare_scores,
    explain_incomparable,
    read_comparison,
    score_tags,
)

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
        ScoreComparison(GAIN, replace(GAIN, value=0.1), "digest-of-champion", difference=(-0.1, 0.3)),
        ScoreComparison(replace(GAIN, interval=None), None, "", "the champion's model is missing in MLflow"),
    ):
        (tmp_path / "verdict.json").write_text(json.dumps({"passed": True, "comparison": found.plain()}))
        assert read_comparison(tmp_path) == found
    (tmp_path / "verdict.json").write_text('{"passed": true}')
    assert read_comparison(tmp_path) is None
    assert str(GAIN) == "0.25 [0.1, 0.4] (n = 64)"


@pytest.mark.parametrize(
    ("value", "difference", "says"),
    [
        (
            0.24,
            (-0.02, 0.04),
            "0.01 higher than that of the champion before it, within chance (95%: -0.02 to +0.04)",
        ),
        (
            0.15,
            (0.01, 0.19),
            "0.1 higher than that of the champion before it, beyond chance (95%: +0.01 to +0.19)",
        ),
        (0.3, (-0.1, -0.01), "0.05 lower than that of the champion before it, beyond chance"),
        (0.25, (0.0, 0.0), "equal to that of the champion before it, within chance"),
        (0.2, None, "0.05 higher than that of the champion before it"),
    ],
)
def test_score_comparison_describe_says_whether_it_may_be_chance(
    value: float, difference: tuple[float, float] | None, says: str
) -> None:
    found = ScoreComparison(GAIN, replace(GAIN, value=value), "d", difference=difference).describe()
    assert found.startswith(f"mean reward, aligned less assistant: {says}")
    assert ("chance" in found) == bool(difference)
    assert ScoreComparison(GAIN).describe() == ""


@pytest.mark.parametrize(
    ("difference", "required", "wins", "says"),
    [
        ((0.01, 0.3), True, True, "0.25 beats version 4's 0.1, beyond chance (95%: +0.01 to +0.3)"),
        ((-0.01, 0.3), False, True, "0.25 beats version 4's 0.1, within chance (95%: -0.01 to +0.3)"),
        ((-0.01, 0.3), True, False, "the champion, version 4, stays: "),
        (None, False, True, "0.25 beats version 4's 0.1"),
        (
            None,
            True,
            False,
            "the interval of the difference is not known; promote.beyond_chance asks for more",
        ),
    ],
)
def test_compare_scores_higher_score_within_chance_wins_unless_more_is_asked(
    difference: tuple[float, float] | None, required: bool, wins: bool, says: str
) -> None:
    compared = ScoreComparison(GAIN, replace(GAIN, value=0.1), "digest", difference=difference)
    tags = {**score_tags(GAIN, compared), **({BEYOND_CHANCE: "true"} if required else {})}
    champion = {**score_tags(replace(GAIN, value=0.1)), "digest": "digest"}
    found, reason = compare_scores(tags, champion, "4")
    assert found is wins and says in reason
    # Another champion is not the one of the interval.
    found, reason = compare_scores(tags, {**champion, "digest": "other"}, "5")
    assert found is not required and "95%" not in reason


@pytest.mark.parametrize(
    "score", [replace(GAIN, prompts="other"), replace(GAIN, name="aligned_f1"), replace(GAIN, judge="other")]
)
def test_compare_scores_model_of_the_champion_is_named_as_such(score: Score) -> None:
    tags, champion = score_tags(score) | {"digest": "same"}, score_tags(GAIN) | {"digest": "same"}
    says = "the champion, version 5, stays: this version has the same weights"
    assert compare_scores(tags, champion, "5") == (False, says)
    assert "same weights" not in compare_scores(tags | {"digest": "another"}, champion, "5")[1]


def test_compare_scores_lower_score_says_whether_it_may_be_chance() -> None:
    compared = ScoreComparison(GAIN, replace(GAIN, value=0.3), "digest", difference=(-0.2, 0.1))
    champion = {**score_tags(replace(GAIN, value=0.3)), "digest": "digest"}
    found, reason = compare_scores(score_tags(GAIN, compared), champion, "4")
    assert not found
    assert reason.endswith("0.3, and this version has 0.25, within chance (95%: -0.2 to +0.1)")


def test_compare_scores_lower_is_better_asks_for_an_interval_below_zero() -> None:
    loss = replace(GAIN, name="aligned_completion_loss", higher_is_better=False)
    for difference, wins in (((-0.2, -0.1), True), ((0.1, 0.2), False), ((-0.2, 0.1), False)):
        compared = ScoreComparison(loss, replace(loss, value=0.4), "digest", difference=difference)
        champion = {**score_tags(replace(loss, value=0.4)), "digest": "digest"}
        assert compare_scores({**score_tags(loss, compared), BEYOND_CHANCE: "true"}, champion, "1")[0] is wins
