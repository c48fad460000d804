"""Test the cleanup after killed runs: leftovers are removed, and live processes are left alone."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

from model.training.launcher import MODULE
from tasks.cleanup.crash_cleanup import clean_up_crashes

KEY = "0123456789abcdef0123"
SLEEPS = "import time; time.sleep(600)"


def begun(root: Path, stage: str) -> Path:
    part = root / "var" / "cache" / "artifacts" / stage / f"{KEY}.part"
    part.mkdir(parents=True)
    (part / "first").write_text("half")
    return part


def gone() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_clean_up_crashes_empty_project_returns_nothing(tmp_path: Path) -> None:
    assert clean_up_crashes(tmp_path) == []


def test_clean_up_crashes_partial_output_is_removed_checkpoints_stay(tmp_path: Path) -> None:
    half, training = begun(tmp_path, "split"), begun(tmp_path, "sft")
    (training / "checkpoints").mkdir()
    (training / "checkpoints" / "00000040.pt").write_text("weights")
    (half.parent / f"{KEY}.view").mkdir()
    removed = half.parent / f"{KEY}.gone"
    removed.mkdir()
    said = "\n".join(clean_up_crashes(tmp_path))
    assert "split: removed partial output of an unfinished run" in said
    assert "sft: training was interrupted; its checkpoint after step 40 is kept" in said
    assert "finished the removal" in said
    assert not half.exists() and not removed.exists() and not (half.parent / f"{KEY}.view").exists()
    assert (training / "checkpoints" / "00000040.pt").exists()


def test_clean_up_crashes_partial_preset_of_init_is_removed(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    for number, text in enumerate(("# Written by `chatmill init` fr", "# mine")):
        (tmp_path / "configs" / f"mine.yaml.{number}.part").write_text(text)
    assert clean_up_crashes(tmp_path) == [
        "init: removed the partial file of a killed init (configs/mine.yaml.0.part)"
    ]
    assert [path.name for path in (tmp_path / "configs").iterdir()] == ["mine.yaml.1.part"]


def test_clean_up_crashes_locked_output_is_kept(tmp_path: Path) -> None:
    part = begun(tmp_path, "split")
    with (part.parent / f"{KEY}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert clean_up_crashes(tmp_path) == [] and part.exists()
    assert len(clean_up_crashes(tmp_path)) == 1 and not part.exists()


def test_clean_up_crashes_orphaned_training_is_ended(tmp_path: Path) -> None:
    part, other = begun(tmp_path, "sft"), begun(tmp_path, "rlhf")
    jobs = [str(folder.with_suffix(".job")) for folder in (part, tmp_path / "elsewhere.part")]
    left, alive = (subprocess.Popen([sys.executable, "-c", SLEEPS, MODULE, "1", "2", job]) for job in jobs)
    try:
        said = "\n".join(clean_up_crashes(tmp_path))
        assert f"sft: process {left.pid} continued without its run" in said
        assert left.poll() is not None and alive.poll() is None and not other.exists()
    finally:
        for process in (left, alive):
            process.kill()
            process.wait()


def test_clean_up_crashes_dvc_lock_list_drops_dead_processes(tmp_path: Path) -> None:
    folder = tmp_path / ".dvc" / "tmp"
    folder.mkdir(parents=True)
    # DVC's record of this live process.
    mine = {"pid": os.getpid(), "cmd": " ".join(sys.argv[:1])}
    dead = {"pid": gone(), "cmd": "chatmill run"}
    (folder / "rwlock").write_text(json.dumps({"write": {"data": dead}, "read": {"data": [mine, dead]}}))
    [said] = clean_up_crashes(tmp_path)
    assert f"({dead['pid']})" in said
    assert json.loads((folder / "rwlock").read_text()) == {"write": {}, "read": {"data": [mine]}}
    (folder / "rwlock").write_text('{"write": ')
    assert "truncated" in clean_up_crashes(tmp_path)[0] and not (folder / "rwlock").exists()
