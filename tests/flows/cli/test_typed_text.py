"""Text on the command line that is not valid UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


def run_bytes(folder: Path, *words: bytes) -> subprocess.CompletedProcess[str]:
    """Run a command line of any bytes in a folder."""
    return subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"flows.cli", *words], cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ((b"approve", b"--reason", b"caf\xe9"), "--reason"),
        ((b"rollback", b"-r", b"caf\xe9"), "--reason"),
        ((b"people", b"remove", b"Zo\xeb"), "name"),
        ((b"label", b"close", b"\xff"), "name"),
        ((b"withdraw", b"3f2a9c", b"--reason", b"asked", b"--author", b"Zo\xeb"), "--author"),
        ((b"withdraw", b"--annotator", b"ana", b"--annotator", b"\xc3\x28"), "--annotator"),
        ((b"run", b"--set", b"registry.model=\xe9"), "--set"),
    ],
)
def test_main_text_not_utf8_is_refused_and_writes_nothing(
    tmp_path: Path, words: tuple[bytes, ...], name: str
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "stores.json").write_text("{}")
    done = run_bytes(tmp_path, *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {name} is '") and "is not valid UTF-8" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["stores.json"]


@pytest.mark.parametrize("name", [b"caf\xe9.tar", b"\xff", "größer.tar".encode("latin-1")])
def test_main_path_not_utf8_is_accepted(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "summary.json").write_text("{}")
    (tmp_path / "configs").mkdir()
    target = os.path.join(os.fsencode(tmp_path), name)
    done = run_bytes(tmp_path, b"backup", target)
    assert done.returncode == 0, done.stderr
    assert os.path.getsize(target) > 0
