"""Losses on the answers of an open model: what its training here makes it forget."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.hf_checkpoint import load_model, save_model
from model.evaluation.loss_changes import loss_increase
from tests.model.evaluation.test_evaluate import run, tokenizer, world

__all__ = ["tokenizer", "world"]


@pytest.fixture
def open_world(world: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Copy the models with a chat template of their own, as an open model has one."""
    changed = dict(world)
    for name in ("base", "sft", "aligned"):
        folder = Path(shutil.copytree(world[name], tmp_path / "models" / name))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["chat_template"] = config["chat_template"].replace("{% for", "Hello. {% for", 1)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        model, tokenizer = load_model(folder)
        assert tokenizer.keeps_template
        if name == "base":
            # Larger weights: a model that is sure of its answers.
            with torch.no_grad():
                model.model.embed_tokens.weight.mul_(20)
            save_model(model, tokenizer, folder)
        changed[name] = str(folder)
    return changed


def test_evaluate_open_model_measures_loss_on_its_own_answers(
    open_world: dict[str, Any], tmp_path: Path
) -> None:
    figures = run(open_world, tmp_path / "out")
    for name in ("base_answer_loss_change", "sft_base_answer_loss_change"):
        assert 0 < figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"]
        assert figures[f"{name}_n"] == 8


def test_evaluate_open_model_that_nothing_changed_forgets_nothing(
    open_world: dict[str, Any], tmp_path: Path
) -> None:
    base = open_world["base"]
    figures = run({**open_world, "sft": base, "aligned": base}, tmp_path / "out")
    assert figures["base_answer_loss_change"] == figures["sft_base_answer_loss_change"] == 0


def test_evaluate_own_base_or_no_questions_has_no_such_metric(
    world: dict[str, Any], open_world: dict[str, Any], tmp_path: Path
) -> None:
    for number, figures in enumerate([{}, {"question_sources": []}]):
        found = run(open_world if figures else world, tmp_path / str(number), **figures)
        assert not any("base_answer_loss_change" in name for name in found)


@pytest.mark.parametrize(
    ("after", "before", "wanted"), [([2.0, 4.0], [1.0, 2.0], 1.0), ([1.0], [2.0], -0.5), ([3.0], [3.0], 0.0)]
)
def test_loss_increase_is_relative_to_loss_before(
    after: list[float], before: list[float], wanted: float
) -> None:
    assert loss_increase("name", after, before, 1)["name"] == pytest.approx(wanted)


@pytest.mark.parametrize(("after", "before"), [([], []), ([1.0], [0.0])])
def test_loss_increase_without_loss_before_is_absent(after: list[float], before: list[float]) -> None:
    assert loss_increase("name", after, before, 1) == {}
