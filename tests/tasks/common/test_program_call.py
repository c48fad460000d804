"""Test that the command that a message names can be typed in the current folder."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.common.program_call import program_call

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("where", ["clone", "elsewhere", "path"])
def test_program_call_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setenv("PATH", f"{BIN}:/usr/bin:/bin" if where == "path" else "/usr/bin:/bin")
    monkeypatch.chdir(BIN.parents[1] if where == "clone" else tmp_path)
    call = program_call()
    wanted = {
        "clone": f"{BIN.parent.name}/bin/chatmill",
        "elsewhere": str(BIN / "chatmill"),
        "path": "chatmill",
    }
    assert call == shlex.quote(wanted[where])
    done = subprocess.run(f"{call} --help", shell=True, capture_output=True, text=True)
    assert done.returncode == 0 and "chatmill" in done.stdout


def test_program_call_of_another_installation_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "chatmill"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert program_call() == shlex.quote(str(BIN / "chatmill"))
