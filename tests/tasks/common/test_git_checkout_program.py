"""Test what a run records of its code, apart from the repository of the project."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.common.git_checkout import UNKNOWN, code_state, describe_code, holds_program, program_state

PROJECT = '[project]\nname = "chatmill"\nversion = "9.1"\n'


def git(place: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(place), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(place: Path) -> str:
    """Make a folder a repository of all its files, and return the commit."""
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-qm", "one")
    return git(place, "rev-parse", "HEAD")


def write_code(place: Path) -> Path:
    """Write packages as chatmill's into a folder, and return it."""
    for name in ("flows/__init__.py", "flows/cli/main.py", "tasks/one.py", "model/two.py"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"# {name}\n")
    (place / "pyproject.toml").write_text(PROJECT)
    return place


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone of chatmill's repository."""
    root = write_code(tmp_path / "clone")
    commit_all(root)
    return root


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project in a repository that is not chatmill's."""
    root = tmp_path / "project"
    (root / "model").mkdir(parents=True)
    (root / "model" / "notes.py").write_text("# of the project\n")
    (root / ".gitignore").write_text(".venv/\n")
    commit_all(root)
    return root


def test_program_state_clone_has_its_commit(clone: Path) -> None:
    found = program_state(clone)
    assert found.commit == git(clone, "rev-parse", "HEAD") and not found.problem


@pytest.mark.parametrize("inside", [".venv/lib/python3.11/site-packages", "var/packages", "../elsewhere"])
def test_program_state_installed_packages_have_no_commit(project: Path, inside: str) -> None:
    origin = write_code(project / inside)
    found = program_state(origin)
    assert (found.commit, found.diff) == ("", "") and "is not a clone of its repository" in found.problem
    assert found.tags()["git.commit"] == UNKNOWN and found.tags()["git.dirty"] == UNKNOWN


def test_program_state_code_that_project_tracks_has_its_commit(project: Path) -> None:
    origin = write_code(project / "third_party" / "chatmill")
    assert program_state(origin).problem
    assert program_state(origin).commit == ""
    commit = commit_all(project)
    assert program_state(origin).commit == commit


@pytest.mark.parametrize("change", ["", "changed", "uncommitted"])
def test_describe_code_other_repository_is_recorded_apart(clone: Path, project: Path, change: str) -> None:
    if change:
        (project / "model" / "notes.py").write_text(change)
    commit = git(project, "rev-parse", "HEAD")
    tags = describe_code(project, clone, "abc").tags()
    assert tags["git.commit"] == git(clone, "rev-parse", "HEAD") and tags["git.dirty"] == "false"
    assert tags["project.commit"] == commit and tags["project.dirty"] == str(bool(change)).lower()
    assert tags["code.version"] == "9.1" and tags["code.digest"] == "abc"
    assert tags["code.folder"] == str(clone)


@pytest.mark.parametrize("inside", [".", "teams", "teams/one"])
def test_describe_code_project_in_clone_has_one_commit(clone: Path, inside: str) -> None:
    (clone / inside).mkdir(parents=True, exist_ok=True)
    tags = describe_code(clone / inside, clone, "abc").tags()
    assert set(tags) == {"git.commit", "git.dirty", "code.version", "code.digest"}
    assert tags["git.commit"] == git(clone, "rev-parse", "HEAD")


def test_describe_code_project_without_git_has_no_project_commit(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    tags = describe_code(tmp_path / "plain", clone, "abc").tags()
    assert "project.commit" not in tags and tags["code.folder"] == str(clone)


def test_holds_program_only_in_folder_of_clone(clone: Path, project: Path) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    (clone / "teams").mkdir()
    assert holds_program(clone, commit) and not holds_program(clone / "teams", commit)
    assert not holds_program(project, git(project, "rev-parse", "HEAD"))
    assert not holds_program(project, commit)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("tasks/extra.py", 10, "tasks/extra.py is ignored by git"),
        ("model/extra/__init__.py", 10, "model/extra/__init__.py is ignored by git"),
        ("flows/large.py", 2 << 20, "flows/large.py is not committed and has more than 1 MiB"),
    ],
)
def test_code_state_imported_module_without_diff_is_problem(
    clone: Path, name: str, size: int, reason: str
) -> None:
    (clone / ".gitignore").write_text("extra*\n")
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).write_text("#" * size)
    assert code_state(clone).problem == ""
    (clone / "tasks" / "one.py").write_text("import flows.large\nfrom tasks import extra\n")
    found = code_state(clone)
    assert found.problem == f"{reason}, so git.diff lacks it" and found.commit
    assert found.tags()["git.dirty"] == UNKNOWN


@pytest.mark.parametrize("name", ["model/new.py", "tasks/new.py", "flows/cli/new.py"])
def test_code_state_untracked_module_is_in_diff(clone: Path, name: str) -> None:
    (clone / name).write_text("NEW = 1\n")
    (clone / "tasks" / "one.py").write_text("import new\n")
    found = code_state(clone)
    assert not found.problem and f"+++ b/{name}" in found.diff
