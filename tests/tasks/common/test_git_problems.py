"""Test git failures: the problem is recorded, and no state is taken for clean."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.cli.data import data
from tasks.common.git_checkout import UNKNOWN, code_state, git_problem, is_empty, is_on_branch, is_shallow
from tasks.dvc import versions
from tests.flows.cli_runner import call
from tests.tasks.dvc_project import lay, texts


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "tasks").mkdir(parents=True)
    (project / "tasks" / "one.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q", "-b", "main", "project")
    git(project, "add", ".")
    git(project, "commit", "-qm", "one")
    return project


def foreign(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Have another user own the repository."""
    for path in (root, *root.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)


def no_git(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(root))


def not_to_be_run(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root.parent / "bin" / "git").mkdir(parents=True)
    patch.setenv("PATH", str(root.parent / "bin"))


def no_objects(root: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git" / "objects")


def broken_head(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / ".git" / "HEAD").write_bytes(b"\0\xff garbage")


def broken_index(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / ".git" / "index").write_bytes(b"not an index")


def no_tree(root: Path, patch: pytest.MonkeyPatch) -> None:
    tree = git(root, "rev-parse", "HEAD^{tree}")
    (root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()


def no_repository(root: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")


def no_commit(root: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")
    git(root, "init", "-q")


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (foreign, "another user owns the repository.*safe.directory"),
        (no_git, "git is not installed"),
        (not_to_be_run, "git cannot be run|git is not installed"),
        (no_objects, "may be damaged|git fails"),
        (broken_head, "may be damaged|git fails"),
        (broken_index, "git fails: .*index"),
        (no_tree, "git fails: "),
        (no_repository, "in no git repository"),
        (no_commit, "no commit yet"),
    ],
)
def test_code_state_git_failure_is_recorded_as_problem(
    root: Path, monkeypatch: pytest.MonkeyPatch, breaks, says: str
) -> None:
    if breaks is foreign and os.getuid():
        pytest.skip("only root can give files to another user")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    breaks(root, monkeypatch)
    found = code_state(root)
    assert found.problem and re.search(says, found.problem), found.problem
    tags = found.tags()
    assert tags["git.dirty"] == UNKNOWN and tags["git.problem"] == found.problem
    assert tags["git.commit"] == (found.commit or UNKNOWN)


def test_code_state_readable_repository_has_commit_and_dirty_flag(root: Path) -> None:
    found = code_state(root)
    assert not found.problem and found.tags() == {"git.commit": found.commit, "git.dirty": "false"}
    (root / "tasks" / "one.py").write_text("a = 2\n")
    assert code_state(root).tags()["git.dirty"] == "true" and git_problem(root) == ""
    git(root, "commit", "-qam", "two")
    git(root.parent, "clone", "-q", "--depth", "1", f"file://{root}", "shallow")
    assert is_shallow(root.parent / "shallow") and not is_shallow(root)
    assert not code_state(root.parent / "shallow").problem


def test_is_on_branch_needs_local_branch_or_tag(root: Path) -> None:
    first = git(root, "rev-parse", "HEAD")
    loose = git(root, "commit-tree", "-m", "loose", "HEAD^{tree}")
    assert is_on_branch(root, first) and not is_on_branch(root, loose)
    git(root, "update-ref", "refs/pull/1", loose)
    git(root, "update-ref", "refs/remotes/origin/theirs", loose)
    assert not is_on_branch(root, loose)
    git(root, "tag", "mine", loose)
    assert is_on_branch(root, loose) and not is_on_branch(root, "12" * 20)


def test_data_log_unreadable_git_names_problem(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    lay(root, *texts("one", "two"))
    versions.add_version(root, "", {"sources": "a", "rows": {"text": 2}})
    git(root, "add", "data.dvc")
    git(root, "commit", "-qm", "data")
    assert "not committed" not in call(data, "log").output
    (root / ".git" / "HEAD").write_bytes(b"\0")
    (root / ".git" / "config").write_text("[broken")
    said = call(data, "log").output
    assert "may be damaged" in said and "commit unknown" in said and "not committed" not in said
    assert not is_empty(git_problem(root))
