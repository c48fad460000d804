"""The evaluation stage: the tensor work from its own process, and the judge's word beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tasks.evaluate as module
from model.evaluate import EvaluateParameters
from tasks.evaluate import evaluate, judge_answers


def row(model: str, completion: str, **further: object) -> str:
    return json.dumps({"model": model, "prompt": "p", "completion": completion, **further}) + "\n"


def test_the_judge_reads_the_assistants_answers_to_free_prompts(tmp_path: Path) -> None:
    completions = tmp_path / "completions.jsonl"
    completions.write_text(
        row("base", "is wonderful\u2028")
        + row("sft", "is awful", reward=0.1)
        + row("sft", "is fine", reward=0.2)
        + row("aligned", "is lovely and wonderful", reward=2.0)
        + row("aligned", "is fine", reward=2.0)
        + row("aligned", "John")
    )
    figures = judge_answers(completions)
    assert figures["win_rate"] == pytest.approx(0.75)
    assert figures["win_rate_low"] < 0.75 < figures["win_rate_high"]
    assert figures["judge_gain"] == pytest.approx(figures["aligned_judge"] - figures["sft_judge"])
    assert figures["judge_gain"] > 0.3
    rows = [json.loads(line) for line in completions.read_text().split("\n") if line]
    assert [("judge" in row) for row in rows] == [False, True, True, True, True, False]
    assert rows[0]["completion"] == "is wonderful\u2028"


def test_the_stage_writes_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict = {}

    def launch(function: object, arguments: dict, **further: object) -> dict[str, float]:
        given.update(arguments)
        text = row("sft", "is dull", reward=0.0) + row("aligned", "is a joy", reward=1.0)
        (Path(arguments["folder"]) / "completions.jsonl").write_text(text)
        return {"kl": 3.0}

    monkeypatch.setattr(module, "launch", launch)
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "embeddings.safetensors").touch()
    folders = {name: tmp_path / name for name in evaluate.inputs}
    figures = evaluate(
        EvaluateParameters(prompts=1),
        **folders,
        out=tmp_path,
        report=lambda event: None,
        seed=3,
        device="cpu",
    )
    assert figures["kl"] == 3.0 and figures["win_rate"] == 1.0
    assert json.loads((tmp_path / "metrics.json").read_text()) == figures
    assert given["embeddings"].endswith("embeddings.safetensors")
    assert given["base"] == str(tmp_path / "pretrain" / "model")
    json.dumps(given)
