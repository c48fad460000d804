"""The gate, the yardstick, and what a name means to `chatmill chat`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.gate import GateParameters, gate, verdict
from tasks.serving import Manner, Talker, resolve
from tasks.yardstick import linear_accuracy
from tests.model.conftest import Language, language, write_rows

__all__ = ["language"]
BARS = GateParameters(least={"judge_gain": 0.4, "win_rate": 0.8}, most={"kl": 12.0})
GOOD = {"judge_gain": 0.5, "win_rate": 0.85, "kl": 9.0}


def test_all_thresholds_met_is_a_pass() -> None:
    found = verdict(BARS, GOOD)
    assert found["passed"] and found["score"] == 0.5 and "all 3 thresholds" in found["reason"]


@pytest.mark.parametrize(("name", "value"), [("judge_gain", 0.39), ("win_rate", 0.5), ("kl", 12.1)])
def test_one_missed_is_a_refusal_that_says_which(name: str, value: float) -> None:
    found = verdict(BARS, {**GOOD, name: value})
    assert not found["passed"]
    assert found["reason"].startswith(f"{name} is {value:.4g}")
    assert [check["name"] for check in found["checks"] if not check["passed"]] == [name]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_figure_that_is_missing_or_no_number_fails(value: float | None) -> None:
    figures = {**GOOD, "kl": value} if value is not None else {k: v for k, v in GOOD.items() if k != "kl"}
    assert not verdict(BARS, figures)["passed"]


def test_the_verdict_is_left_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(GOOD))
    figures = gate(BARS, evaluate=tmp_path, out=tmp_path, report=lambda event: None)
    assert figures["passed"] == 1
    assert json.loads((tmp_path / "verdict.json").read_text())["passed"]


def test_the_linear_yardstick_reads_feelings(language: Language) -> None:
    accuracy = linear_accuracy(language.labels)
    assert accuracy["tone/film"] > 0.95
    assert accuracy["helpfulness/chat"] > 0.95 if "helpfulness/chat" in accuracy else True


def test_the_yardstick_reads_what_was_said_before(tmp_path: Path) -> None:
    def row(mood: str, i: int) -> dict[str, Any]:
        history = [
            {"role": "user", "content": f"be {mood}"},
            {"role": "assistant", "content": f"yes {i % 3}"},
        ]
        return {
            "history": history,
            "prompt": "go on",
            "completion": " the end",
            "aspect": "tone",
            "source": "s",
        }

    rows = [{**row(mood, i), "score": score} for i in range(20) for mood, score in (("glad", 2), ("sad", -2))]
    pair = {"chosen": row("glad", 1), "rejected": row("sad", 1), "aspect": "tone", "source": "s"}
    write_rows(tmp_path / "train.ratings.jsonl", rows)
    write_rows(tmp_path / "train.comparisons.jsonl", [])
    write_rows(tmp_path / "pairs.valid.jsonl", [pair])
    assert linear_accuracy(tmp_path) == {"tone/s": 1.0}


def test_a_name_is_the_last_runs_folder(tmp_path: Path) -> None:
    for name in ("base", "sft", "aligned"):
        with pytest.raises(UserError, match="no run here yet"):
            resolve(name, tmp_path)
    model = tmp_path / "made" / "model"
    model.mkdir(parents=True)
    (tmp_path / "var").mkdir()
    stages = [{"name": "sft", "folder": str(tmp_path / "made")}]
    (tmp_path / "var" / "summary.json").write_text(json.dumps({"stages": stages}))
    assert resolve("sft", tmp_path) == model
    with pytest.raises(UserError, match="left no aligned model"):
        resolve("aligned", tmp_path)
    with pytest.raises(UserError, match="passed the gate"):
        resolve("champion", tmp_path)
    with pytest.raises(UserError, match="neither one of base"):
        resolve("elsewhere", tmp_path)


def test_an_answer_comes_piece_by_piece_and_the_same_twice(language: Language, tmp_path: Path) -> None:
    talker = Talker(language.model(tmp_path))
    manner = Manner(new_tokens=12, seed=3)
    pieces = list(talker.answer("the film", manner))
    assert len(pieces) > 1
    assert pieces == list(talker.answer("the film", manner))
    with pytest.raises(UserError, match="no room for an answer"):
        list(talker.answer("the film " * 60, manner))
