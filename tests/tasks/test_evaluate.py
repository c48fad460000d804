"""Test the stage `evaluate`: the judge's comparison and the written metrics."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import tasks.evaluate as module
from model.data.dataloader import read_rows
from model.evaluation.evaluate_config import JUDGES, EvaluateParameters
from tasks.evaluate import compare_by_judge, evaluate, win_figures
from tasks.evaluation.answer_judges import judge_answers
from tasks.judge import RECORD, Scorer


def row(model: str, completion: str, **further: object) -> str:
    return json.dumps({"model": model, "prompt": "p", "completion": completion, **further}) + "\n"


def test_compare_by_judge_lexicon_scores_answers_of_assistant(tmp_path: Path) -> None:
    completions = tmp_path / "completions.jsonl"
    completions.write_text(
        row("base", "is wonderful\u2028")
        + row("sft", "is awful", reward=0.1)
        + row("sft", "is fine", reward=0.2)
        + row("aligned", "is lovely and wonderful", reward=2.0)
        + row("aligned", "is fine", reward=2.0)
        + row("aligned", "John")
    )
    parameters = EvaluateParameters(judge="lexicon")
    judge_answers("lexicon", parameters, tmp_path, tmp_path, completions, lambda event: None)
    rows = read_rows(completions)
    figures = compare_by_judge(rows, 1)
    assert figures["win_rate"] == pytest.approx(0.75) and figures["win_rate_n"] == 2
    assert figures["win_rate_low"] < 0.75 < figures["win_rate_high"]
    assert figures["judge_gain"] == pytest.approx(figures["aligned_judge"] - figures["sft_judge"])
    assert figures["judge_gain"] > 0.3 and figures["judge_gain_n"] == 2
    assert [("judge" in row) for row in rows] == [False, True, True, True, True, False]
    assert rows[0]["completion"] == "is wonderful\u2028"


def test_compare_by_judge_open_model_that_can_be_asked_is_compared() -> None:
    scores = {"base": (0.5, 1.5), "sft": (0.0, 1.0), "aligned": (2.0, 4.0)}
    rows = [{"model": model, "judge": score} for model, both in scores.items() for score in both]
    figures = compare_by_judge(rows, 1)
    assert figures["judge_gain_over_base"] == 2.0 and figures["judge_gain_over_base_n"] == 2
    assert figures["base_judge"] == 1.0 and figures["judge_gain"] == 2.5
    own = compare_by_judge([row for row in rows if row["model"] != "base"], 1)
    assert not any("base" in name for name in own)


def test_win_figures_ties_count_as_half() -> None:
    assert win_figures("win_rate", [0.4, 0.1, 0.2, 0.8], [0.0, 0.5, 0.2, 0.0])["win_rate"] == 2.5 / 4
    with pytest.raises(ValueError, match="argument 2"):
        win_figures("win_rate", [0.1], [0.1, 0.2])


def test_compare_by_judge_champion_is_compared() -> None:
    rows = [
        {"model": model, "judge": score + i}
        for model, score in (("sft", 0.0), ("aligned", 2.0), ("champion", 1.5))
        for i in range(3)
    ]
    figures = compare_by_judge(rows, 1)
    assert figures["champion_win_rate"] == 1 and figures["champion_judge"] == 2.5
    assert compare_by_judge([{"model": "aligned", "reward": 1.0}], 1) == {}


def evaluated(
    root: Path, patch: pytest.MonkeyPatch, judge: Scorer, found: dict[str, float]
) -> dict[str, Any]:
    """Return the stage's metrics for an evaluation that gave `found`; write its arguments to asked.json."""

    def launch(function: object, arguments: dict, **further: object) -> dict[str, float]:
        (root / "asked.json").write_text(json.dumps(arguments))
        scored = {"judge": 0.0} if judge.kind == "reward_model" else {}
        text = row("sft", "is dull", reward=0.0, **scored) + row("aligned", "is a joy", reward=1.0, **scored)
        (Path(arguments["folder"]) / "completions.jsonl").write_text(text)
        (Path(arguments["folder"]) / "held_out.json").write_text(
            '{"champion": {"measured": false, "why": ""}}'
        )
        return found

    patch.setattr(module, "launch_training", launch)
    folders = {name: root / name for name in evaluate.inputs if name != "champion"}
    for folder in folders.values():
        (folder / "model").mkdir(parents=True, exist_ok=True)
    (folders["pretrain"] / "embeddings.safetensors").touch()
    (folders["judge"] / RECORD).write_text(json.dumps(asdict(judge)))
    for name in ("train.ratings.jsonl", "train.comparisons.jsonl"):
        (folders["labels"] / name).touch()
    return evaluate(
        EvaluateParameters(num_prompts=1), **folders, champion=None, out=root,
        on_event=lambda event: None,
        seed=3, device="cpu", processes=1,
    )  # fmt: skip


def test_evaluate_writes_every_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = evaluated(tmp_path, monkeypatch, Scorer("lexicon", "d"), {"kl": 3.0})
    assert figures["kl"] == 3.0 and figures["win_rate"] == 1.0 and figures["judge_reliable"] == 1
    assert json.loads((tmp_path / "metrics.json").read_text()) == figures
    given = json.loads((tmp_path / "asked.json").read_text())
    assert given["embeddings"].endswith("embeddings.safetensors")
    assert given["base"] == str(tmp_path / "pretrain" / "model")
    held_out = json.loads((tmp_path / "held_out.json").read_text())
    assert held_out["judge"]["digest"] == "d" and held_out["reward"]["kind"] == "reward_model"


@pytest.mark.parametrize(("low", "reliable"), [(0.74, 1), (0.51, 1), (0.5, 0), (0.3, 0)])
def test_evaluate_guessing_judge_is_unreliable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low: float, reliable: int
) -> None:
    ends = {"": 0.8, "_low": low, "_high": 0.9, "_n": 11.0}
    found = {f"judge_test_pair_accuracy{end}": value for end, value in ends.items()}
    figures = evaluated(tmp_path, monkeypatch, Scorer("reward_model", "d", "l"), found)
    assert figures["judge_reliable"] == reliable


def test_evaluate_without_judge_has_no_win_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = evaluated(tmp_path, monkeypatch, Scorer("none", why="few"), {"kl": 1.0})
    assert figures["judge_reliable"] == 0 and "win_rate" not in figures and "judge_gain" not in figures


def test_evaluate_parameters_unknown_judge_is_refused() -> None:
    further = {
        "function": {"judge_function": "a.py:f"},
        "endpoint": {"judge_endpoint": "http://127.0.0.1/v1", "judge_model": "m"},
    }
    for judge in JUDGES:
        EvaluateParameters(judge=judge, **further.get(judge, {}))
    with pytest.raises(
        ValueError,
        match="judge is 'vader'; it must be one of reward_model, lexicon, function,",
    ):
        EvaluateParameters(judge="vader")
