"""Test how the code of a run is recorded and checked out again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.common.git_checkout import Code, checkout_code, code_state, remove_worktree


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project in a subfolder of its repository."""
    project = tmp_path / "repository" / "project"
    (project / "tasks").mkdir(parents=True)
    (project / "tasks" / "one.py").write_bytes(b"a = 1\r\nb = 2\n")
    (project / "picture").write_bytes(b"\0\1")
    (project / ".gitignore").write_text("var/\nignored.py\n")
    git(tmp_path, "init", "-q", "repository")
    git(project, "add", ".")
    git(project, "commit", "-qm", "one")
    return project


def test_code_state_outside_git_has_no_commit(tmp_path: Path) -> None:
    found = code_state(tmp_path)
    assert (found.commit, found.diff) == ("", "") and "in no git repository" in found.problem


def test_code_state_clean_checkout_has_no_diff(root: Path) -> None:
    found = code_state(root)
    assert len(found.commit) == 40 and found.diff == ""


def test_checkout_code_changed_tree_restores_diff_and_new_files(root: Path, tmp_path: Path) -> None:
    # These settings of a user change the output of `git diff`.
    for setting in (("diff.noprefix", "true"), ("diff.external", "false"), ("color.diff", "always")):
        git(root, "config", *setting)
    wanted = {
        "tasks/one.py": b"a = 3\r\nb = 2\n",
        "picture": b"\0\2",
        "tasks/new.py": b"c = 'gr\xc3\xbcn'\n",
        "tasks/empty.py": b"",
    }
    for name, content in {**wanted, "tasks/ignored.py": b"x", "notes.py": b"y", "data.py": b"z"}.items():
        (root / name).write_bytes(content)
    state = code_state(root)
    git(root, "stash", "-u")
    tree = root / "var" / "cache" / "reproduce" / "tree"
    project = checkout_code(root, state, tree)
    assert project == tree / "project"
    assert {name: (project / name).read_bytes() for name in wanted} == wanted
    assert not (project / "tasks" / "ignored.py").exists() and not (project / "notes.py").exists()
    remove_worktree(root, tree)
    said = subprocess.run(["git", "-C", root, "worktree", "list"], capture_output=True, text=True, check=True)
    assert not tree.exists() and len(said.stdout.splitlines()) == 1


def test_checkout_code_unknown_commit_or_diff_is_refused(root: Path, tmp_path: Path) -> None:
    tree, commit = root / "var" / "tree", code_state(root).commit
    with pytest.raises(UserError, match="git fetch"):
        checkout_code(root, Code("12" * 20, ""), tree)
    with pytest.raises(UserError, match="does not fit its commit"):
        checkout_code(root, Code(commit, "--- a/no\n+++ b/no\n@@ -1 +1 @@\n-a\n+b\n"), tree)
    with pytest.raises(UserError, match="in no git repository"):
        checkout_code(tmp_path, Code(commit, ""), tree)
    assert not tree.exists()
