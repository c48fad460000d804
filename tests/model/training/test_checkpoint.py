"""Checkpoints: damaged files are renamed, and all processes load the same one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import UserError
from model.events import EventCallback, Message
from model.training.checkpoint import load_checkpoint, save_checkpoint, write_synced
from model.training.launcher import launch_training
from model.training.process_group import ProcessGroup
from model.training.trainer import Trainer
from tests.model.training.test_trainer import Line, parameters, run


def saved(folder: Path, steps: tuple[int, ...] = (1, 2, 3)) -> Path:
    for step in steps:
        save_checkpoint(folder, step, {"value": torch.full((4000,), float(step))})
    return sorted(folder.glob("*.pt"))[-1]


def test_save_checkpoint_keeps_newest_two(tmp_path: Path) -> None:
    saved(tmp_path, (0, 1, 2, 3, 4))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["00000003.pt", "00000004.pt"]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:500],
    "cut at the end": lambda data: data[:-1],
    "empty": lambda data: b"",
    "text": lambda data: b"not a checkpoint\n" * 40,
    "zeros": lambda data: bytes(len(data)),
    "block of zeros": lambda data: data[:4096] + bytes(4096) + data[8192:],
    "bit in a tensor": lambda data: flipped(data, len(data) // 2),
    "bit in the directory": lambda data: flipped(data, len(data) - 150),
    "bit in the pickle": lambda data: flipped(data, data.index(b"value")),
    "doubled": lambda data: data[: len(data) // 2] * 2,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_load_checkpoint_damaged_file_is_renamed(tmp_path: Path, damage: str) -> None:
    newest = saved(tmp_path)
    harmed = DAMAGES[damage](newest.read_bytes())
    newest.write_bytes(harmed)
    said: list[str] = []
    state = load_checkpoint(tmp_path, said.append)
    assert state is not None and state["step"] == 2 and (state["value"] == 2).all()
    assert len(said) == 1 and newest.name in said[0]
    assert newest.with_name("00000003.pt.damaged").read_bytes() == harmed


def test_load_checkpoint_renamed_files_are_not_overwritten(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        (tmp_path / "00000009.pt").write_bytes(content)
        assert load_checkpoint(tmp_path, lambda text: None) is None
    assert (tmp_path / "00000009.pt.damaged").read_bytes() == b"one"
    assert (tmp_path / "00000009.pt.damaged.2").read_bytes() == b"two"


def test_load_checkpoint_disk_error_is_raised_and_changes_nothing(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "00000004.pt").mkdir()
    with pytest.raises(IsADirectoryError):
        load_checkpoint(tmp_path, lambda text: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002.pt", "00000003.pt", "00000004.pt"]


def test_load_checkpoint_out_of_memory_is_raised_and_changes_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 7, {"value": torch.ones(100_000_000)})
    code = (
        "import resource, sys; from pathlib import Path; import psutil\n"
        "from model.training.checkpoint import load_checkpoint\n"
        "room = psutil.Process().memory_info().vms + 150_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (room, room))\n"
        "load_checkpoint(Path(sys.argv[1]), print)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 1 and "allocate memory" in ended.stderr and not ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["00000007.pt"]


def restoring(folders: list[str], on_event: EventCallback) -> dict[str, Any]:
    world = ProcessGroup.join_group("cpu")
    state = load_checkpoint(Path(folders[world.rank]), lambda text: on_event(Message(text)), world)
    step = torch.tensor(float(state["step"] if state else -1))
    world.all_reduce([step])
    return {"sum": step.item(), "rank": world.rank}


def test_load_checkpoint_two_processes_load_choice_of_first(tmp_path: Path) -> None:
    newest = saved(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-9])
    said: list[Any] = []
    found = launch_training(
        restoring, {"folders": [str(tmp_path)] * 2}, processes=2, on_event=said.append, log=tmp_path / "log"
    )
    assert found["sum"] == 4.0  # both resume from step 2
    messages = [event.text for event in said if isinstance(event, Message)]
    assert len(messages) == 1 and newest.with_name("00000003.pt.damaged").exists()


def test_load_checkpoint_process_without_file_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "first")
    (tmp_path / "second").mkdir()
    with pytest.raises(UserError, match=r"process 1 of 2 does not find .*second/00000003\.pt.*shared file"):
        launch_training(
            restoring,
            {"folders": [str(tmp_path / "first"), str(tmp_path / "second")]},
            processes=2,
            log=tmp_path / "log",
        )


def test_run_training_resumes_checkpoint_of_more_gpus(tmp_path: Path) -> None:
    whole = Line(parameters())
    run(whole, tmp_path / "whole")
    run(Line(parameters(steps=10)), tmp_path / "part")
    newest = sorted((tmp_path / "part" / "checkpoints").glob("*.pt"))[-1]
    state = torch.load(newest, weights_only=True)
    write_synced(newest, {**state, "random_cuda": [torch.zeros(16, dtype=torch.uint8)] * 8})
    resumed = Line(parameters(optimizer=whole.parameters.optimizer))
    run(resumed, tmp_path / "part")
    assert resumed.taken == list(range(10, 20))


def test_run_training_damaged_or_missing_best_weights_are_refused(tmp_path: Path) -> None:
    settings = {"steps": 12, "eval_every": 1, "early_stopping_patience": 30}
    run(Line(parameters(**settings)), tmp_path)
    best = tmp_path / "best.pt"
    best.write_bytes(best.read_bytes()[:-40] + os.urandom(40))
    with pytest.raises(UserError, match=r"best\.pt is damaged .*remove .* to train again"):
        run(Line(parameters(**settings)), tmp_path)
    best.unlink()
    with pytest.raises(UserError, match=r"best\.pt is missing"):
        run(Line(parameters(**settings)), tmp_path)


def test_run_training_skipped_step_without_checkpoint_is_refused(tmp_path: Path) -> None:
    task = Line(parameters(), bad=(8,))
    loop = Trainer(task, task.parameters, tmp_path, 1, lambda event: None)
    original = task.optimizer_step

    def harmed(step: int) -> dict[str, float]:
        if step == 8:
            # A thread may still write the last one.
            loop.writer.wait()
            for path in (tmp_path / "checkpoints").glob("*.pt"):
                path.write_bytes(b"")
        return original(step)

    task.optimizer_step = harmed  # type: ignore[method-assign]
    with pytest.raises(UserError, match="no checkpoint is left"):
        loop.run_training()
