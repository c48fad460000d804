"""The guard against pipes and devices, in processes of their own, as it cannot be removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.smoke import REPOSITORY
from tests.waiting import PATIENCE

GUARDED = "import os, sys\nfrom model.file_guard import refuse_special_files\nrefuse_special_files()\n"
PROBE = f"""{GUARDED}
from pathlib import Path
try:
    {{action}}
    print("opened")
except OSError as error:
    print(error.errno, error.filename)
"""
ACTIONS = [
    "open(sys.argv[1])", "open(sys.argv[1], 'a')", "open(sys.argv[1].encode(), 'wb')",
    "Path(sys.argv[1]).read_text()", "Path(sys.argv[1]).write_text('x')", "os.open(sys.argv[1], os.O_RDONLY)",
]  # fmt: skip


def probe(action: str, path: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(action=action), str(path)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize("action", ACTIONS)
def test_open_named_pipe_raises_and_names_it(tmp_path: Path, action: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert probe(action, tmp_path / "pipe") == f"6 {tmp_path / 'pipe'}"


def test_open_link_to_pipe_or_device_raises(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    assert probe(ACTIONS[0], tmp_path / "link") == f"6 {tmp_path / 'link'}"
    assert probe(ACTIONS[3], tmp_path / "zeros") == f"6 {tmp_path / 'zeros'}"


def test_open_file_and_system_device_succeeds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert probe(ACTIONS[3], tmp_path / "file") == "opened"
    assert probe(ACTIONS[1], tmp_path / "new") == "opened"
    for path in ("/dev/null", "/dev/stdin", "/proc/self/fd/0"):
        assert probe(ACTIONS[0], path) == "opened"


def test_open_without_waiting_succeeds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert probe("os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)", tmp_path / "pipe") == "opened"
