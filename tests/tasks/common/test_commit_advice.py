"""Test the advice to commit files."""

from __future__ import annotations

from pathlib import Path

from tasks.common.commit_advice import advise_commit


def test_advise_commit_outside_git_is_empty(tmp_path: Path) -> None:
    assert advise_commit(tmp_path, "data.dvc") == ""


def test_advise_commit_below_repository_names_files(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    assert advise_commit(project, "data.dvc") == "`git add data.dvc` and commit it"
    assert advise_commit(project, "a", "data.dvc") == "`git add a data.dvc` and commit both"
