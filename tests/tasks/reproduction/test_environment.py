"""Test the environment for another lock file: installed once, completely or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.engine.cache_key import LOCK, ROOT, lock_digest
from tasks.reproduction.environment import prepare_interpreter


def test_prepare_interpreter_other_lock_is_installed_once(tmp_path: Path) -> None:
    said: list[str] = []
    assert prepare_interpreter(tmp_path, ROOT, os.environ, said.append) == Path(sys.executable) and not said
    project = tmp_path / "other"
    project.mkdir()
    (project / LOCK).write_text("# No package at all.\n")
    found = prepare_interpreter(tmp_path, project, os.environ, said.append)
    assert found == tmp_path / "var" / "cache" / "environments" / lock_digest(project) / "bin" / "python"
    assert found.exists() and len(said) == 1
    assert prepare_interpreter(tmp_path, project, os.environ, said.append) == found and len(said) == 1


def test_prepare_interpreter_unavailable_package_leaves_nothing(tmp_path: Path) -> None:
    project = tmp_path / "other"
    project.mkdir()
    (project / LOCK).write_text("no-such-package==1.0\n")
    with pytest.raises(UserError, match="no-such-package"):
        prepare_interpreter(tmp_path, project, {**os.environ, "PIP_NO_INDEX": "1"}, lambda text: None)
    assert not (tmp_path / "var" / "cache" / "environments" / lock_digest(project)).exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "dangling"])
def test_prepare_interpreter_commit_without_lock_file_is_named(tmp_path: Path, kind: str) -> None:
    project = tmp_path / "other"
    project.mkdir()
    if kind == "folder":
        (project / LOCK).mkdir()
    elif kind == "dangling":
        (project / LOCK).symlink_to("nowhere")
    with pytest.raises(UserError, match=rf"has no {LOCK}, so this repository does not hold the code"):
        prepare_interpreter(tmp_path, project, os.environ, lambda text: None)
    assert not (tmp_path / "var").exists()
