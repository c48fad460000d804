"""The launcher of a training: its events, its errors, and its end with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from model.events import EventCallback, Step
from model.training.launcher import TrainingFailed, launch_training


def counting(steps: int, on_event: EventCallback) -> dict[str, Any]:
    for step in range(steps):
        on_event(Step(step, steps))
    print("a library's chatter")
    return {"steps": steps, "rank": os.environ["RANK"]}


def refusing(on_event: EventCallback) -> dict[str, Any]:
    raise UserError("rlhf.steps is wrong; 3 would be right")


def crashing(on_event: EventCallback) -> dict[str, Any]:
    raise ZeroDivisionError("by nothing")


def dying(on_event: EventCallback) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def sleeping(path: str, on_event: EventCallback) -> dict[str, Any]:
    Path(path).write_text(str(os.getpid()))
    time.sleep(120)
    return {}


def looking(prompts: list[str], on_event: EventCallback) -> dict[str, Any]:
    """Return what other users of the machine see of this process and its parents."""
    pid, seen = os.getpid(), []
    for _ in range(3):
        seen.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"))
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    order = Path(seen[0][-2])
    return {"prompts": len(prompts), "seen": seen[:2], "order": str(order), "mode": oct(order.stat().st_mode)}


def test_launch_training_large_job_is_invisible_to_other_users(tmp_path: Path) -> None:
    prompts = [f"a secret prompt {number} \N{SNOWMAN} " * 50 for number in range(400)]
    found = launch_training(looking, {"prompts": prompts}, log=tmp_path / "KEY.log")
    assert found["prompts"] == 400 and "secret" not in str(found["seen"])
    assert found["order"] == str(tmp_path / "KEY.job") and found["mode"] == "0o100600"
    assert not (tmp_path / "KEY.job").exists()


def test_launch_training_returns_events_and_result(tmp_path: Path) -> None:
    events: list[Any] = []
    result = launch_training(counting, {"steps": 3}, on_event=events.append, log=tmp_path / "log")
    assert result == {"steps": 3, "rank": "0"}
    assert [event.step for event in events if isinstance(event, Step)] == [0, 1, 2]
    assert "a library's chatter" in (tmp_path / "log").read_text()


def test_launch_training_user_error_is_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rlhf\.steps is wrong"):
        launch_training(refusing, {}, log=tmp_path / "log")


def test_launch_training_crash_is_one_sentence_with_traceback_in_log(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="ZeroDivisionError: by nothing"):
        launch_training(crashing, {}, log=tmp_path / "log")
    assert "Traceback" in (tmp_path / "log").read_text()


def test_launch_training_killed_process_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"was killed \(SIGKILL; the usual cause is a lack of memory"):
        launch_training(dying, {}, log=tmp_path / "log")


def test_launch_training_killed_parent_ends_group(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from model.training.launcher import launch_training; "
        "from tests.model.training.test_launcher import sleeping; "
        f"launch_training(sleeping, {{'path': {str(tmp_path / 'pid')!r}}}, "
        f"log=Path({str(tmp_path / 'log')!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.1)
    worker = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.1)
