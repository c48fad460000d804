"""A stop in the middle of a step: the step is abandoned, and the resumed training ends in the same bits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from model.events import Event, EventCallback, Step
from model.training import pretrain, sft
from model.training.launcher import launch_training
from model.training.ppo import PPOTrainer
from model.training.pretrain import train_base
from model.training.process_group import ProcessGroup
from model.training.stopping import StepAbandoned, StopRequest
from model.training.trainer import Interrupted
from tests.model.conftest import Language
from tests.model.training.test_training_tasks import digest, pretraining, quiet, stage


def newest(folder: Path) -> int:
    """Return the step of the newest checkpoint."""
    return max(int(path.stem) for path in (folder / "checkpoints").glob("*.pt"))


# A step of pretraining has 8 windows in two parts of 4 micro-batches: 8 calls a step, besides those of the
# evaluations.
@pytest.mark.parametrize("at", [2, 5, 8, 27])
def test_pretraining_stopped_between_micro_batches_resumes_with_same_bits(
    at: int, language: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = pretraining(language, micro_batch_size=1, steps=6, prompts=[], save_every=0)
    train_base(**inputs, folder=str(tmp_path / "whole"), on_event=quiet)
    calls = []
    original = pretrain.linear_next_token_loss

    def loss(*arguments: Any) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        if sum(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(pretrain, "linear_next_token_loss", loss)
    with pytest.raises(Interrupted):
        train_base(**inputs, folder=str(tmp_path / "stopped"), on_event=quiet)
    # The micro-batch that was under way is finished, and no other one of the step begins.
    assert sum(calls) == at
    # At the end of a step the step counts; in its middle it does not.
    assert newest(tmp_path / "stopped") == at // 8
    monkeypatch.undo()
    train_base(**inputs, folder=str(tmp_path / "stopped"), on_event=quiet)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


@pytest.mark.parametrize("name", ["rlhf", "sft"])
@pytest.mark.parametrize("at", [3, 9])
def test_training_stopped_within_a_step_resumes_with_same_bits(
    name: str, at: int, language: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"pretrain": tmp_path / "pretrain", "sft": tmp_path / "sft", "reward": tmp_path / "reward"}
    for before in ("pretrain", "sft", "reward"):
        stage(before, language, made, steps=4)(made[before], quiet)
    train = stage(name, language, made, steps=3, micro_batch_size=1)
    train(tmp_path / "whole", quiet)
    # In PPO the calls are those of the learning passes: the weights have changed when the stop comes.
    target, method = (PPOTrainer, "_train_minibatch") if name == "rlhf" else (sft, "linear_next_token_loss")
    original = getattr(target, method)
    calls = []

    def counted(*arguments: Any) -> Any:
        if torch.is_grad_enabled():
            calls.append(1)
            if len(calls) == at:
                os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(target, method, counted)
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", quiet)
    assert len(calls) == at
    monkeypatch.undo()
    train(tmp_path / "stopped", quiet)
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


def test_two_processes_stopped_within_a_step_resume_with_same_bits(
    language: Language, tmp_path: Path
) -> None:
    inputs = pretraining(language, micro_batch_size=1, steps=8, prompts=[], save_every=0, eval_every=0)

    def launch(folder: Path, on_event: EventCallback = quiet) -> None:
        job = {**inputs, "folder": str(folder)}
        launch_training(train_slowly, job, processes=2, on_event=on_event, log=folder.with_suffix(".log"))

    class Stop(Exception):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            raise Stop

    began = time.monotonic()
    launch(tmp_path / "whole")
    whole = time.monotonic() - began
    began = time.monotonic()
    with pytest.raises(Stop):
        launch(tmp_path / "stopped", stop)
    # The rest of the steps was not taken.
    assert time.monotonic() - began < whole
    assert 3 <= newest(tmp_path / "stopped") < 8
    launch(tmp_path / "stopped")
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


def train_slowly(on_event: EventCallback, **inputs: Any) -> dict[str, float]:
    """Train as `train_base` does, with micro-batches of a fifth of a second."""
    original = pretrain.linear_next_token_loss

    def slow(*arguments: Any) -> torch.Tensor:
        if torch.is_grad_enabled():
            time.sleep(0.2)
        return original(*arguments)

    pretrain.linear_next_token_loss = slow
    return train_base(**inputs, on_event=on_event)


def test_abandon_step_of_several_processes_needs_all_of_them() -> None:
    alone, many = ProcessGroup(), ProcessGroup(size=2)
    with pytest.raises(StepAbandoned):
        StopRequest(True).abandon_step(alone)
    StopRequest(False).abandon_step(alone, together=True)
    StopRequest(True).abandon_step(many)
