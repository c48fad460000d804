"""The training loop on a tiny task: infinite losses, kills, patience and invalid settings."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model.data.dataloader import seeded_rng
from model.errors import UserError
from model.events import Event, Message
from model.training.loop_config import LoopParameters
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.supervised import supervised_update
from model.training.trainer import Interrupted, Trainer
from model.training.training_task import TrainingTask, describe_steps


class Line(TrainingTask):
    """Fit y = 3x; the batches in `bad` hold a value that is not finite."""

    best_by = "valid_loss"
    tokens_per_step = 4.0

    def __init__(self, parameters: LoopParameters, bad: tuple[int, ...] = ()) -> None:
        torch.manual_seed(0)
        self.parameters = parameters
        self.bad = bad
        self.learner = MixedPrecisionOptimizer(
            nn.Linear(1, 1), parameters.optimizer, torch.float32, ProcessGroup()
        )
        self.taken: list[int] = []

    def optimizer_step(self, step: int) -> dict[str, float]:
        x = torch.from_numpy(seeded_rng(1, step).normal(size=(4, 1))).float()
        if step in self.bad:
            x[2] = float("nan")
        figures = supervised_update(
            self.learner, self.parameters, step, 4, 4.0,
            lambda part: ((self.learner.module(x[part]) - 3 * x[part]) ** 2).sum(),
        )  # fmt: skip
        self.taken.append(step)
        return figures

    def describe_batch(self, step: int) -> str:
        return f"rows {4 * step} to {4 * step + 3}"

    def evaluate_model(self) -> dict[str, float]:
        return {"valid_loss": (self.learner.module.weight.item() - 3) ** 2}

    def weight(self) -> float:
        return float(self.learner.module.weight.item())


def parameters(**settings: Any) -> LoopParameters:
    chosen = {
        "steps": 20,
        "batch_size": 4,
        "save_every": 5,
        "optimizer": OptimizerParameters(0.1),
        **settings,
    }
    return LoopParameters(**chosen)


def run(task: Line, folder: Path, said: list[str] | None = None) -> dict[str, float]:
    def on_event(event: Event) -> None:
        if said is not None and isinstance(event, Message):
            said.append(event.text)

    return Trainer(task, task.parameters, folder, 1, on_event).run_training()


def test_run_training_infinite_loss_names_batch_and_skips_it(tmp_path: Path) -> None:
    said: list[str] = []
    task = Line(parameters(), bad=(8,))
    figures = run(task, tmp_path, said)
    assert figures["skipped_batches"] == 1
    assert any("step 8: the loss is not finite on rows 32 to 35" in text for text in said)
    # It returns to the checkpoint after step 5 and continues without batch 8.
    assert task.taken == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, *range(9, 20)]


def test_run_training_skipped_batch_stays_skipped_after_kill(tmp_path: Path) -> None:
    whole = Line(parameters(), bad=(8,))
    run(whole, tmp_path / "whole")
    short = Line(parameters(), bad=(8,))
    loop = Trainer(short, short.parameters, tmp_path / "killed", 1, lambda event: None)
    original = short.optimizer_step

    def killed(step: int) -> dict[str, float]:
        if step == 12:
            raise KeyboardInterrupt
        return original(step)

    short.optimizer_step = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        loop.run_training()
    resumed = Line(parameters(), bad=(8,))
    run(resumed, tmp_path / "killed")
    assert resumed.taken == list(range(10, 20))
    assert resumed.weight() == whole.weight()
    assert (tmp_path / "whole/curves.jsonl").read_text() == (tmp_path / "killed/curves.jsonl").read_text()


def test_run_training_too_many_infinite_losses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="11 batches gave a loss that is not finite"):
        run(Line(parameters(), bad=tuple(range(2, 14))), tmp_path)


def test_run_training_sigterm_saves_checkpoint_and_takes_the_step_again(tmp_path: Path) -> None:
    task = Line(parameters())
    original = task.optimizer_step

    def asked(step: int) -> dict[str, float]:
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(step)

    task.optimizer_step = asked  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        run(task, tmp_path)
    resumed = Line(parameters())
    run(resumed, tmp_path)
    # The signal came before the first micro-batch of step 7.
    assert resumed.taken[0] == 7


def test_run_training_half_written_curve_line_is_dropped(tmp_path: Path) -> None:
    run(Line(parameters(steps=5)), tmp_path)
    with (tmp_path / "curves.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    run(Line(parameters(steps=5)), tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert max(steps) == 5


def test_run_training_patience_stops_without_improvement(tmp_path: Path) -> None:
    settings = {
        "steps": 400,
        "eval_every": 1,
        "early_stopping_patience": 3,
        "optimizer": OptimizerParameters(0.9, weight_decay=0),
    }
    task = Line(parameters(**settings))
    said: list[str] = []
    figures = run(task, tmp_path, said)
    assert figures["steps"] < 400
    assert any("stopped after step" in text for text in said)


@pytest.mark.parametrize("best", [0, 2])
def test_run_training_without_improvement_is_said(tmp_path: Path, best: int) -> None:
    task = Line(parameters(steps=6, eval_every=1, early_stopping_patience=3))
    steps = iter(range(100))
    task.evaluate_model = lambda: {"valid_loss": abs(next(steps) - best)}  # type: ignore[method-assign]
    said: list[str] = []
    figures = run(task, tmp_path, said)
    assert any("this model has learned nothing" in text for text in said) is (best == 0)
    assert figures.get("learned_nothing") == (1.0 if best == 0 else None)


@pytest.mark.parametrize(
    "key", ["steps", "batch_size", "micro_batch_size", "early_stopping_patience", "save_every"]
)
def test_loop_parameters_out_of_range_are_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        parameters(**{key: -1})


def test_loop_parameters_unknown_key_is_refused() -> None:
    with pytest.raises(UserError, match="stepz"):
        LoopParameters.read({"stepz": 3})


@pytest.mark.parametrize(
    ("steps", "batch", "said"),
    [(10, 1, "10 steps of 1 prompt"), (1, 64, "1 step of 64 prompts"), (1200, 2, "1,200 steps of 2 prompts")],
)
def test_describe_steps_counts_have_their_number(steps: int, batch: int, said: str) -> None:
    assert describe_steps(steps, batch, "prompt") == said
