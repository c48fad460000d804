"""The launcher of a training: its events, its errors, and its end with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import torch
import torch.nn.functional as F

from model.errors import UserError
from model.events import EventCallback, ImportedSources, Step
from model.training.launcher import TrainingFailed, launch_training
from model.training.process_group import ProcessGroup
from tests.model.training.launched_functions import counting, crashing, dying, looking, refusing
from tests.waiting import PATIENCE


def joined(fault: str, on_event: EventCallback) -> dict[str, Any]:
    """Sum a number over the group's processes, after a fault of the second one."""
    group = ProcessGroup.join_group("cpu")
    group.wait_for_all()
    if group.rank == 1 and fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if group.rank == 1 and fault == "refused":
        raise UserError("sft.steps is wrong; 3 would be right")
    return {"sum": float(group.gather_rows(torch.tensor([group.rank + 1.0]), group.size).sum())}


def stopped(path: str, on_event: EventCallback) -> dict[str, Any]:
    """Wait for SIGTERM in each process of a group, and leave a file that says that it came."""
    rank = ProcessGroup.join_group("cpu").rank
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    Path(path, f"{rank}.ready").write_text(str(os.getppid()))
    try:
        time.sleep(120)
    finally:
        Path(path, f"{rank}.saved").touch()
    return {}


def multiply_shapes(on_event: EventCallback) -> dict[str, Any]:
    """Return by how many MB this process grows while it multiplies matrices of many shapes."""
    torch.set_num_threads(1)
    weight = torch.ones(384, 128, dtype=torch.bfloat16)
    held = psutil.Process().memory_info
    began = 0
    for rows in range(100, 900):
        began = held().rss if rows == 200 else began
        F.linear(torch.ones(rows, 128, dtype=torch.bfloat16), weight)
    return {"grown": (held().rss - began) / 1e6}


def test_launch_training_many_shapes_take_bounded_memory(tmp_path: Path) -> None:
    # Without bounds of oneDNN's caches it is about 500.
    assert launch_training(multiply_shapes, {}, log=tmp_path / "log")["grown"] < 150


def test_launch_training_large_job_is_invisible_to_other_users(tmp_path: Path) -> None:
    prompts = [f"a secret prompt {number} \N{SNOWMAN} " * 50 for number in range(400)]
    found = launch_training(looking, {"prompts": prompts}, log=tmp_path / "KEY.log")
    assert found["prompts"] == 400 and "secret" not in str(found["seen"])
    assert found["order"] == str(tmp_path / "KEY.job") and found["mode"] == "0o100600"
    assert not (tmp_path / "KEY.job").exists()


def test_launch_training_returns_events_and_result(tmp_path: Path) -> None:
    events: list[Any] = []
    result = launch_training(counting, {"steps": 3}, on_event=events.append, log=tmp_path / "log")
    assert result == {"steps": 3, "rank": "alone"}
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


def test_launch_training_group_of_two_gives_the_first_ones_result(tmp_path: Path) -> None:
    events: list[Any] = []
    arguments = {"fault": ""}
    result = launch_training(joined, arguments, processes=2, on_event=events.append, log=tmp_path / "log")
    assert result == {"sum": 3.0}
    assert len([event for event in events if isinstance(event, ImportedSources)]) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [("killed", TrainingFailed, r"was killed \(SIGKILL"), ("refused", UserError, r"sft\.steps is wrong")],
)
def test_launch_training_fault_of_one_process_is_the_groups(
    fault: str, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=text):
        launch_training(joined, {"fault": fault}, processes=2, log=tmp_path / "log")


def test_launch_training_sigterm_to_first_process_stops_the_group(tmp_path: Path) -> None:
    def stop_group() -> None:
        while not all((tmp_path / f"{rank}.ready").exists() for rank in (0, 1)):
            time.sleep(0.05)
        os.kill(int((tmp_path / "0.ready").read_text()), signal.SIGTERM)

    Thread(target=stop_group, daemon=True).start()
    with pytest.raises(TrainingFailed, match=r"was killed \(SIGTERM\)"):
        launch_training(stopped, {"path": str(tmp_path)}, processes=2, log=tmp_path / "log")
    assert (tmp_path / "0.saved").exists() and (tmp_path / "1.saved").exists()


def test_launch_training_killed_parent_ends_group(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from model.training.launcher import launch_training; "
        "from tests.model.training.launched_functions import sleeping; "
        f"launch_training(sleeping, {{'path': {str(tmp_path / 'pid')!r}}}, "
        f"log=Path({str(tmp_path / 'log')!r}))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.1)
    worker = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.1)
