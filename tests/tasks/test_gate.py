"""Test the stage `gate`: thresholds, the score, and the comparison with the champion."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from model.evaluation.confidence_intervals import wilson_interval
from tasks.common.metric_labels import metric_words
from tasks.engine.catalog import read_declaration
from tasks.evaluation.scores import explain_incomparable, read_comparison
from tasks.gate import (
    DEFAULT_JUDGED,
    DEFAULT_LEAST,
    DEFAULT_MOST,
    KNOWN,
    OLD_NAMES,
    GateParameters,
    check_thresholds,
    compare_with_champion,
    gate,
    prompts_needed,
)
from tasks.reporting.sections import gate_section

BARS = GateParameters(min={"judge_gain": 0.4, "win_rate": 0.8}, max={"kl": 12.0})
GOOD = {
    "judge_gain": 0.5, "win_rate": 0.85, "kl": 9.0, "reward_gain": 0.5, "loss_increase": 0.05,
    "ends_by_itself_change": 0.0, "aligned_judge": 0.6, "aligned_reward": 0.5, "judge_reliable": 1.0,
    "reward_gain_low": 0.2, "reward_gain_high": 0.8, "reward_gain_n": 11.0, "prompts": 11.0,
}  # fmt: skip
HELD_OUT = {
    "prompts": "p", "questions": "q", "completions": "c", "champion": {"measured": False, "why": ""},
    "judge": {"kind": "reward_model", "digest": "j", "data": "l"},
    "reward": {"kind": "reward_model", "digest": "r", "data": "m"},
}  # fmt: skip


def test_judge_figures_all_thresholds_met_passes() -> None:
    found = check_thresholds(BARS, GOOD)
    assert found["passed"] and "all 7 thresholds" in found["reason"]


@pytest.mark.parametrize(("name", "value"), [("judge_gain", 0.39), ("win_rate", 0.5), ("kl", 12.1)])
def test_judge_figures_missed_threshold_is_named(name: str, value: float) -> None:
    found = check_thresholds(BARS, {**GOOD, name: value})
    assert not found["passed"]
    assert found["reason"].startswith(f"{metric_words(name)}: {value:.4g}, ")
    assert [check["name"] for check in found["checks"] if not check["passed"]] == [name]


@pytest.mark.parametrize(("low", "told"), [(-0.02, True), (0.01, False)])
def test_check_thresholds_divergence_below_zero_is_called_an_estimate(low: float, told: bool) -> None:
    found = check_thresholds(BARS, {**GOOD, "kl": 0.03, "kl_low": low, "kl_high": 0.1})
    [check] = [check for check in found["checks"] if check["name"] == "kl"]
    assert check["passed"] and ("an estimate that can be below 0 by chance" in check["says"]) == told


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_judge_figures_missing_metric_fails(value: float | None) -> None:
    figures = {**GOOD, "kl": value} if value is not None else {k: v for k, v in GOOD.items() if k != "kl"}
    assert not check_thresholds(BARS, figures)["passed"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss_increase", 1.37),
        ("loss_increase", 0.151),
        ("reward_gain", -0.2),
        ("reward_gain", 0.0),
        ("kl", 23.0),
        ("win_rate", 0.4),
        ("ends_by_itself_change", -0.5),
        ("prompts", 1.0),
        ("prompts", 4.0),
        ("reward_gain", float("inf")),
        ("loss_increase", float("-inf")),
    ],
)
def test_judge_figures_default_thresholds_refuse_lost_quality(name: str, value: float) -> None:
    assert check_thresholds(GateParameters(), GOOD)["passed"]
    found = check_thresholds(GateParameters(), {**GOOD, name: value})
    assert not found["passed"] and found["reason"].startswith(metric_words(name))


def test_judge_figures_preset_replaces_or_removes_default() -> None:
    bad = {**GOOD, "loss_increase": 0.3, "reward_gain": -1.0}
    looser = GateParameters(min={"reward_gain": None}, max={"loss_increase": 0.5})
    assert not check_thresholds(GateParameters(), bad)["passed"] and check_thresholds(looser, bad)["passed"]
    assert not check_thresholds(looser, {**bad, "loss_increase": 0.6})["passed"]


@pytest.mark.parametrize(
    ("least", "most", "lost"),
    [
        ({"kl": 1.0}, {}, {"kl": 30.0}),
        ({"loss_increase": -0.5}, {}, {"loss_increase": 2.0}),
        ({}, {"reward_gain": 3.0}, {"reward_gain": -1.0}),
        ({}, {"ends_by_itself_change": 0.5}, {"ends_by_itself_change": -0.9}),
        ({}, {"win_rate": 0.99}, {"win_rate": 0.1}),
    ],
)
def test_judge_figures_threshold_of_other_side_keeps_default(
    least: dict[str, float | None], most: dict[str, float | None], lost: dict[str, float]
) -> None:
    settings = GateParameters(min=least, max=most)
    assert check_thresholds(settings, GOOD)["passed"]
    assert not check_thresholds(settings, {**GOOD, **lost})["passed"]


@pytest.mark.parametrize(
    ("section", "name", "bar", "says"),
    [
        ("min", "kl", 20.0, "no model passes: min.kl is 20 and max.kl 15"),
        ("max", "reward_gain", -0.5, "no model passes: min.reward_gain is 0.01 and max.reward_gain -0.5"),
        ("max", "kl", -5.0, "no model passes: the metric is at least 0"),
        ("min", "win_rate", 60.0, "no model passes: the metric is from 0 to 1"),
        ("min", "ends_by_itself_change", -15.0, "every model passes: the metric is from -1 to 1"),
        ("max", "aligned_ends_by_itself", 80.0, "every model passes"),
        ("min", "judge_test_pair_accuracy_low", 51.0, "no model passes"),
        ("min", "champion_f1", -1.0, "every model passes"),
        ("min", "win_rate_low", 1.0, "no model passes: the interval of a share begins below 1"),
        ("min", "kl", None, "has no effect.*`max: {kl: null}` removes it"),
        ("max", "reward_gain", None, "has no effect.*`min: {reward_gain: null}` removes it"),
        ("max", "win_rate", None, "has no effect"),
    ],
)
def test_gate_parameters_pointless_threshold_is_refused(
    section: str, name: str, bar: float | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        GateParameters(**{section: {name: bar}})
    assert str(raised.value).startswith(f"{section}.{name} ")


@pytest.mark.parametrize(
    ("least", "needed"),
    [
        ({}, (5, "gate.min.prompts")),
        ({"prompts": None}, (0, "")),
        ({"prompts": 40}, (40, "gate.min.prompts")),
        ({"win_rate_n": 64}, (64, "gate.min.win_rate_n")),
        ({"champion_win_rate_low": 0.5}, (5, "gate.min.prompts")),
        ({"win_rate_low": 0.9, "aligned_ends_by_itself_low": 0.8}, (35, "gate.min.win_rate_low")),
        ({"judge_gain_low": 0.9, "ends_by_itself_change_low": 0.5}, (5, "gate.min.prompts")),
    ],
)
def test_prompts_needed_is_the_most_of_any_threshold(
    least: dict[str, float | None], needed: tuple[int, str]
) -> None:
    assert prompts_needed(GateParameters(min=least)) == needed


@pytest.mark.parametrize("bar", [0.5, 0.6, 0.9, 0.99])
def test_prompts_needed_fewer_wins_do_not_reach_the_interval(bar: float) -> None:
    count, _ = prompts_needed(GateParameters(min={"prompts": None, "win_rate_low": bar}))
    assert wilson_interval(count, count)[0] >= bar > wilson_interval(count - 1, count - 1)[0]


@pytest.mark.parametrize(
    ("accuracy", "passes"), [(0.49, False), (0.0, False), (float("nan"), False), (0.5, True), (0.9, True)]
)
def test_judge_figures_guessing_reward_model_is_refused(accuracy: float, passes: bool) -> None:
    figures = {**GOOD, "test_pair_accuracy": accuracy, "test_pair_accuracy_n": 40.0}
    assert check_thresholds(GateParameters(), figures)["passed"] is passes
    assert check_thresholds(GateParameters(min={"test_pair_accuracy": None}), figures)["passed"]


def test_judge_figures_unreliable_judge_decides_nothing() -> None:
    assert check_thresholds(GateParameters(), {**GOOD, "win_rate": 0.1, "judge_reliable": 0.0})["passed"]


def test_judge_figures_check_has_interval_and_count() -> None:
    found = check_thresholds(GateParameters(min={"reward_gain": 0.9}), GOOD)
    assert found["reason"] == (
        "mean reward, aligned less assistant: 0.5 [0.2, 0.8] (n = 11), at least 0.9 is required by "
        "gate.min.reward_gain"
    )
    check = next(check for check in found["checks"] if check["name"] == "reward_gain")
    assert (check["interval"], check["n"]) == ([0.2, 0.8], 11.0)


@pytest.mark.parametrize(
    "name", sorted(name for name in KNOWN if not name.startswith(tuple(OLD_NAMES)) or "change" in name)
)
def test_judge_figures_reason_is_in_words(name: str) -> None:
    for figures in ({}, {name: 0.5}, {name: 0.5, f"{name}_low": 0.1, f"{name}_high": 0.9, f"{name}_n": 8.0}):
        settings = GateParameters(min={name: 0.6}, max={name: None})
        reason = check_thresholds(settings, {**GOOD, name: None, **figures})["reason"]
        assert f" is required by gate.min.{name}" in reason
        words = re.sub(r" by gate\.(min|max)\.\w+", "", reason)
        assert metric_words(name) in words and "_" not in words


@pytest.mark.parametrize("old", ["ends_by_itself", "distinct"])
def test_gate_old_metric_name_is_read_with_notice(old: str, tmp_path: Path) -> None:
    write_evaluation(tmp_path, {**GOOD, f"aligned_{old}": 1.0, f"sft_{old}": 0.1})
    said: list[str] = []
    settings = GateParameters(min={old: 0.9})
    figures = gate(
        settings, evaluate=tmp_path, out=tmp_path, on_event=lambda event: said.append(event.text), seed=1
    )
    assert figures["passed"] == 1
    assert said == [f"gate: {old} is an old name of aligned_{old}; use aligned_{old} in the preset"]


@pytest.mark.parametrize(
    ("section", "name", "near"),
    [
        ("min", "reward_gian", "reward_gain"),
        ("max", "klm", "kl"),
        ("min", "aligned_judg", "aligned_judge"),
    ],
)
def test_gate_parameters_unknown_metric_is_refused(section: str, name: str, near: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{section}\.{name} is not a metric of evaluate; did you mean {near}"
    ):
        GateParameters(**{section: {name: 1.0}})


@pytest.mark.parametrize("score", ["kl", "length_ratio", "sft_reward", "loss_increase"])
def test_gate_parameters_incomparable_score_is_refused(score: str) -> None:
    with pytest.raises(
        ValueError, match=f"ranking_metric is {score}, by which two models cannot be compared"
    ):
        GateParameters(ranking_metric=score)


@pytest.mark.parametrize(
    ("score", "rows"),
    [
        ("aligned_bits_per_byte", "text"),
        ("aligned_f1", "questions"),
        ("aligned_completion_loss", "completions"),
    ],
)
def test_compare_with_champion_score_names_its_rows(score: str, rows: str) -> None:
    """Without the rows' digest, values of other rows would be compared where the champion is not measured."""
    figures = {**GOOD, score: 0.5}
    one, other = (
        compare_with_champion(
            GateParameters(ranking_metric=score), figures, {**HELD_OUT, rows: digest}
        ).candidate
        for digest in ("x", "y")
    )
    assert (one.prompts, other.prompts) == ("x", "y")
    assert "held-out prompts" in explain_incomparable(one, other)


def write_evaluation(folder: Path, figures: dict[str, Any], held_out: dict[str, Any] = HELD_OUT) -> None:
    (folder / "metrics.json").write_text(json.dumps(figures))
    (folder / "held_out.json").write_text(json.dumps(held_out))


def test_gate_writes_verdict(tmp_path: Path) -> None:
    write_evaluation(tmp_path, GOOD)
    figures = gate(BARS, evaluate=tmp_path, out=tmp_path, on_event=lambda event: None, seed=1)
    assert figures["passed"] == 1 and figures["score"] == 0.6
    assert json.loads((tmp_path / "verdict.json").read_text())["passed"]
    compared = read_comparison(tmp_path)
    assert compared is not None and compared.champion is None
    assert (compared.candidate.name, compared.candidate.value) == ("aligned_judge", 0.6)


@pytest.mark.parametrize(("step", "chance"), [(0.0, "beyond"), (0.5, "within")])
def test_gate_score_above_the_champions_says_whether_it_may_be_chance(
    tmp_path: Path, step: float, chance: str
) -> None:
    champion = {"measured": True, "model": "digest"}
    scored = {**GOOD, "aligned_judge": 0.6, "champion_judge": 0.59}
    write_evaluation(tmp_path, scored, {**HELD_OUT, "champion": champion})
    pairs = [(0.6 + step * (-1) ** n, 0.59 - step * (-1) ** n) for n in range(40)]
    rows = [
        {"model": model, "judge": pair[place]}
        for place, model in enumerate(("aligned", "champion"))
        for pair in pairs
    ]
    (tmp_path / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = gate(BARS, evaluate=tmp_path, out=tmp_path, on_event=lambda event: None, seed=1)
    says = f"0.01 higher than that of the champion before it, {chance} chance (95%: "
    assert says in figures["against_champion"]
    assert says in read_declaration("gate", None).headline(figures)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    section = gate_section(verdict)
    assert section is not None and says in section["reason"]
    low, high = verdict["comparison"]["difference"]
    assert (low <= 0 <= high) == (chance == "within")


@pytest.mark.parametrize(
    ("score", "reliable", "name", "judge", "value"),
    [
        ("", 1.0, "aligned_judge", "j", 0.6),
        ("", 0.0, "aligned_reward", "r", 0.5),
        ("judge_gain", 1.0, "aligned_judge", "j", 0.6),
        ("aligned_reward", 1.0, "aligned_reward", "r", 0.5),
    ],
)
def test_compare_with_champion_score_names_its_judge(
    score: str, reliable: float, name: str, judge: str, value: float
) -> None:
    figures = {**GOOD, "judge_reliable": reliable}
    found = compare_with_champion(GateParameters(ranking_metric=score), figures, HELD_OUT).candidate
    assert (found.name, found.judge, found.prompts, found.value) == (name, judge, "p", value)


def test_compare_with_champion_scores_of_one_run_are_comparable() -> None:
    held_out = {**HELD_OUT, "champion": {"measured": True, "why": "", "model": "d"}}
    figures = {**GOOD, "champion_judge": 0.3, "aligned_completion_loss": 0.4, "champion_completion_loss": 0.5}
    for score, better in (("", True), ("aligned_completion_loss", True)):
        found = compare_with_champion(GateParameters(ranking_metric=score), figures, held_out)
        assert found.champion is not None and explain_incomparable(found.candidate, found.champion) == ""
        assert found.candidate.beats(found.champion) is better and found.champion_model == "d"
    figures.pop("champion_completion_loss")
    found = compare_with_champion(GateParameters(ranking_metric="aligned_completion_loss"), figures, held_out)
    assert found.champion is None and "another tokenizer" in found.why


@pytest.mark.parametrize(
    ("least", "most", "says"),
    [
        ({}, {}, "no thresholds are set"),
        ({"reward_gain": 0.1}, {}, "at least 0.1 is required"),
        ({"reward_gain": 0.1}, {"kl": 9.0}, "all 2 thresholds are met"),
    ],
)
def test_judge_figures_success_is_said_in_words(
    least: dict[str, float | None], most: dict[str, float | None], says: str
) -> None:
    unset: dict[str, float | None] = {name: None for name in (*DEFAULT_LEAST, *DEFAULT_JUDGED)}
    found = check_thresholds(
        GateParameters(min=unset | least, max={name: None for name in DEFAULT_MOST} | most), GOOD
    )
    assert found["passed"] and found["reason"].endswith(says)
