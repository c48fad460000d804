"""The Makefile's check of the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (f"#!{sys.executable}", 0),
        ("#!/bin/sh", 0),
        ("#!/moved/away/.venv/bin/python3", 2),
        ("#!/moved/with a space/.venv/bin/python3", 2),
    ],
)
def test_make_install_environment_of_another_folder_is_named(tmp_path: Path, first: str, code: int) -> None:
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "chatmill").write_text(f"{first}\n")
    # Newer than what it depends on, so that nothing is installed.
    (tmp_path / ".venv" / "installed").touch()
    os.utime(tmp_path / ".venv" / "installed", (2e9, 2e9))
    done = subprocess.run(["make", "install"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if code else 0), done.stderr
    assert ("remove .venv and type the same again" in done.stderr) is bool(code)
