"""Test that stages which need a device use it one at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.engine.device_lock import WAITS, device_locks
from tasks.engine.stage import StageContext, stage
from tests.waiting import PATIENCE


@dataclass(frozen=True)
class Steps:
    steps: int = 1
    waits: bool = False


@stage()
def train(parameters: Steps, out: Path, on_event: EventCallback, root: Path, device: str) -> dict[str, Any]:
    """Record when the device is held and released."""
    with (root / "told").open("a") as told:
        told.write(f"{parameters.steps} begins\n")
        told.flush()
        while parameters.waits and not (root / "enough").exists():
            time.sleep(0.01)
        told.write(f"{parameters.steps} ends\n")
    return {}


@stage()
def count(parameters: Steps, out: Path, on_event: EventCallback) -> dict[str, Any]:
    """Do nothing; this stage needs no device."""
    return {}


def in_process(made: str, parameters: Steps, root: Path, said: Any) -> None:
    globals()[made].run(parameters, {}, StageContext(root), said.put)


def start(*arguments: Any) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=in_process, args=arguments)
    process.start()
    return process


def training(root: Path, said: Any) -> Any:
    """Start a process that holds the device until the file `enough` exists."""
    first = start("train", Steps(1, waits=True), root, said)
    while not (root / "told").exists() or not (root / "told").read_text():
        time.sleep(0.01)
    return first


def test_stage_run_two_trainings_take_turns_on_device(tmp_path: Path) -> None:
    said = multiprocessing.get_context("spawn").Queue()
    first = training(tmp_path, said)
    second = start("train", Steps(2), tmp_path, said)
    assert said.get(timeout=PATIENCE) == Message(WAITS)
    # A stage that needs no device does not wait.
    began = time.monotonic()
    count.run(Steps(), {}, StageContext(tmp_path), said.put)
    assert time.monotonic() - began < 5 and first.is_alive()
    (tmp_path / "enough").touch()
    first.join(PATIENCE), second.join(PATIENCE)
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert (tmp_path / "told").read_text().split("\n")[:4] == ["1 begins", "1 ends", "2 begins", "2 ends"]


def test_stage_run_device_wait_is_interruptible_and_kill_frees_device(tmp_path: Path) -> None:
    said = multiprocessing.get_context("spawn").Queue()
    first = training(tmp_path, said)
    second = start("train", Steps(2), tmp_path, said)
    assert said.get(timeout=PATIENCE).text == WAITS
    time.sleep(0.2)
    os.kill(second.pid, signal.SIGINT)
    second.join(PATIENCE)
    assert second.exitcode == 1 and first.is_alive()
    os.kill(first.pid, signal.SIGKILL)
    first.join(PATIENCE)
    third = start("train", Steps(3), tmp_path, said)
    third.join(PATIENCE)
    assert third.exitcode == 0


def test_device_locks_gpu_is_shared_by_all_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda place: SimpleNamespace(uuid=("b", "a")[place])
    )
    folder = tmp_path / f"chatmill-devices-{os.getuid()}"
    assert device_locks("cuda", 1, tmp_path / "one") == [folder / "b.lock"]
    assert device_locks("cuda", 2, tmp_path / "other") == [folder / "a.lock", folder / "b.lock"]
    assert device_locks("cpu", 2, tmp_path / "one") == [tmp_path / "one" / "var" / "devices" / "cpu.lock"]
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match="is accessible to other users"):
        device_locks("cuda", 1, tmp_path)
