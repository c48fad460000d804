"""Checkpoints written by a thread: their content, their errors, and kills during the write."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from model.events import EventCallback
from model.training import checkpoint_writer
from model.training.checkpoint import load_checkpoint
from model.training.checkpoint_writer import CheckpointWriter
from model.training.launcher import launch_training
from tests.model.training.test_trainer import Line, parameters, run


def state_of(number: float) -> dict[str, Any]:
    return {
        "weights": [torch.full((3, 4), number), torch.full((2,), number, dtype=torch.bfloat16)],
        "moved": torch.arange(6.0).view(2, 3).mT + number,
        "plain": {"step": 3, "names": ["a", "b"], "none": None, "whole": torch.tensor(7)},
    }


def same(found: Any, right: Any) -> bool:
    if isinstance(right, dict):
        return found.keys() >= right.keys() and all(same(found[name], right[name]) for name in right)
    if isinstance(right, list):
        return len(found) == len(right) and all(map(same, found, right))
    if isinstance(right, torch.Tensor):
        return found.dtype == right.dtype and torch.equal(found, right)
    return bool(found == right)


def test_save_writes_the_state_of_the_call_not_of_later(tmp_path: Path, held: threading.Event) -> None:
    writer = CheckpointWriter(tmp_path, "cpu")
    for number in (1.0, 2.0, 3.0):
        state = state_of(number)
        held.clear()
        writer.save(int(number), state)
        assert writer.is_busy and not (tmp_path / f"{int(number):08d}.pt").exists()
        # The training changes its weights in place while the thread writes.
        state["weights"][0].zero_()
        state["moved"].zero_()
        held.set()
        writer.wait()
        found = load_checkpoint(tmp_path, pytest.fail)
        assert found and found["step"] == number and same(found, state_of(number))
    assert writer.seconds > 0 and not writer.is_busy


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event without which no write begins."""
    event, original = threading.Event(), checkpoint_writer.save_checkpoint

    def waiting(*arguments: Any) -> None:
        event.wait(60)
        original(*arguments)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", waiting)
    return event


def test_save_waits_for_the_write_before(tmp_path: Path, held: threading.Event) -> None:
    writer = CheckpointWriter(tmp_path, "cpu")
    writer.save(1, state_of(1))
    threading.Timer(0.5, held.set).start()
    began = time.monotonic()
    writer.save(2, state_of(2))
    assert time.monotonic() - began > 0.3
    writer.close()
    assert sorted(path.stem for path in tmp_path.glob("*.pt")) == ["00000001", "00000002"]


def test_save_of_other_shapes_makes_other_copies(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, "cpu")
    for step, value in enumerate((None, torch.ones(3), torch.ones(5), torch.ones(5, dtype=torch.int64))):
        writer.save(step, {"best": value})
        writer.wait()
        found = load_checkpoint(tmp_path, pytest.fail)
        assert found and same(found["best"], value)


def full(folder: str, steps: int, on_event: EventCallback) -> dict[str, Any]:
    """Train with checkpoints for which the disk has no room, from the second one on."""
    task = Line(parameters(steps=steps, save_every=2))
    original = task.optimizer_step

    def narrow(step: int) -> dict[str, float]:
        if step == 1:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))
        return original(step)

    task.optimizer_step = narrow  # type: ignore[method-assign]
    try:
        return run(task, Path(folder))
    except OSError as error:
        # A limit of a file's size has an error number of its own; a full disk has this one.
        assert error.errno == errno.EFBIG
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), error.filename) from error


@pytest.mark.parametrize("steps", [3, 20])
def test_training_on_a_full_disk_ends_with_the_disks_error(steps: int, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as raised:
        launch_training(full, {"folder": str(tmp_path / "out"), "steps": steps}, log=tmp_path / "log")
    assert raised.value.errno == errno.ENOSPC
    kept = list((tmp_path / "out" / "checkpoints").iterdir())
    assert [path.name for path in kept] == ["00000000.pt"]
    assert load_checkpoint(tmp_path / "out" / "checkpoints", pytest.fail)


KILLED = """
import os, pathlib, signal, sys, threading, time, torch
from model.training.checkpoint_writer import CheckpointWriter
writer = CheckpointWriter(pathlib.Path(sys.argv[1]), "cpu")
writer.save(1, {"w": torch.ones(100)})
writer.wait()
writer.save(2, {"w": torch.ones(100_000_000)})
part = pathlib.Path(sys.argv[1], "00000002.part")
while not part.exists() or part.stat().st_size < 1_000_000:
    time.sleep(0.001)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_during_the_write_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001.pt", "00000002.part"]
    writer = CheckpointWriter(tmp_path, "cpu")
    writer.remove_unfinished()
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.pt"]
    found = load_checkpoint(tmp_path, pytest.fail)
    assert found and found["step"] == 1


def test_run_training_reports_goodput(tmp_path: Path) -> None:
    task = Line(parameters(steps=6))
    original, evaluated = task.optimizer_step, task.evaluate_model

    def slow(step: int) -> dict[str, float]:
        time.sleep(0.05)
        return original(step)

    def long() -> dict[str, float]:
        time.sleep(0.3)
        return evaluated()

    task.optimizer_step, task.evaluate_model = slow, long  # type: ignore[method-assign]
    metrics = run(task, tmp_path)
    # 0.3 s of steps and two evaluations of 0.3 s.
    assert 0.1 < metrics["goodput"] < 0.55
    # What was lost before the last checkpoint stays lost after a resumption.
    assert run(Line(parameters(steps=6)), tmp_path)["goodput"] < 0.55
