"""Test how the code of a run is recorded and checked out again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flows.cli.data import data
from model.errors import UserError
from tasks.common.git_checkout import (
    UNKNOWN,
    Code,
    checkout_code,
    code_state,
    git_problem,
    is_empty,
    is_on_branch,
    is_shallow,
    remove_worktree,
)
from tasks.dvc import versions
from tests.flows.cli_runner import call
from tests.tasks.dvc_project import git, lay, texts


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
    assert (found.commit, found.diff) == ("", "") and "not in a git repository" in found.problem


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
    with pytest.raises(UserError, match="does not apply to its commit"):
        checkout_code(root, Code(commit, "--- a/no\n+++ b/no\n@@ -1 +1 @@\n-a\n+b\n"), tree)
    with pytest.raises(UserError, match="not in a git repository"):
        checkout_code(tmp_path, Code(commit, ""), tree)
    assert not tree.exists()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a project that is a repository itself."""
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
        (no_repository, "not in a git repository"),
        (no_commit, "no commit yet"),
    ],
)
def test_code_state_git_failure_is_recorded_as_problem(
    repository: Path, monkeypatch: pytest.MonkeyPatch, breaks, says: str
) -> None:
    if breaks is foreign and os.getuid():
        pytest.skip("only repository can give files to another user")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repository.parent))
    breaks(repository, monkeypatch)
    found = code_state(repository)
    assert found.problem and re.search(says, found.problem), found.problem
    tags = found.tags()
    assert tags["git.dirty"] == UNKNOWN and tags["git.problem"] == found.problem
    assert tags["git.commit"] == (found.commit or UNKNOWN)


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ((), "false"),
        (("data.dvc",), "false"),
        (("data.dvc", "model/net.py"), "true"),
        (("model/net.py",), "true"),
        (("mydata.dvc",), "true"),
        (("team/data.dvc",), "false"),
    ],
)
def test_code_state_pointer_to_data_is_no_changed_code(
    repository: Path, changed: tuple[str, ...], dirty: str
) -> None:
    names = ("data.dvc", "model/net.py", "mydata.dvc", "team/data.dvc")
    for name in names:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("first\n")
    git(repository, "add", "-f", *names)
    git(repository, "commit", "-qm", "files")
    for name in changed:
        (repository / name).write_text("second\n")
    found = code_state(repository)
    assert found.tags()["git.dirty"] == dirty
    # A reproduction applies the whole diff.
    assert all(name in found.diff for name in changed)


def test_code_state_readable_repository_has_commit_and_dirty_flag(repository: Path) -> None:
    found = code_state(repository)
    assert not found.problem and found.tags() == {"git.commit": found.commit, "git.dirty": "false"}
    (repository / "tasks" / "one.py").write_text("a = 2\n")
    assert code_state(repository).tags()["git.dirty"] == "true" and git_problem(repository) == ""
    git(repository, "commit", "-qam", "two")
    git(repository.parent, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    assert is_shallow(repository.parent / "shallow") and not is_shallow(repository)
    assert not code_state(repository.parent / "shallow").problem


def test_is_on_branch_needs_local_branch_or_tag(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    loose = git(repository, "commit-tree", "-m", "loose", "HEAD^{tree}")
    assert is_on_branch(repository, first) and not is_on_branch(repository, loose)
    git(repository, "update-ref", "refs/pull/1", loose)
    git(repository, "update-ref", "refs/remotes/origin/theirs", loose)
    assert not is_on_branch(repository, loose)
    git(repository, "tag", "mine", loose)
    assert is_on_branch(repository, loose) and not is_on_branch(repository, "12" * 20)


def test_data_log_unreadable_git_names_problem(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    lay(repository, *texts("one", "two"))
    versions.add_version(repository, "", {"sources": "a", "rows": {"text": 2}})
    git(repository, "add", "data.dvc")
    git(repository, "commit", "-qm", "data")
    assert "not committed" not in call(data, "log").output
    (repository / ".git" / "HEAD").write_bytes(b"\0")
    (repository / ".git" / "config").write_text("[broken")
    said = call(data, "log").output
    assert "may be damaged" in said and "commit unknown" in said and "not committed" not in said
    assert not is_empty(git_problem(repository))


PLACE = "gitdir", "{tree}/.git\n"
LOCKED = "locked", "initializing\n"
NONE = "HEAD", "0" * 40 + "\n"


@pytest.mark.parametrize(
    "notes",
    [
        [LOCKED],
        [LOCKED, ("gitdir", "")],
        [LOCKED, PLACE],
        [LOCKED, PLACE, NONE],
        [LOCKED, PLACE, NONE, ("commondir", "")],
    ],
)
def test_checkout_code_killed_inside_git_worktree_add_is_made_anew(
    repository: Path, notes: list[tuple[str, str]]
) -> None:
    tree, commit = repository / "var" / "tree", code_state(repository).commit
    other = repository / "var" / "other"
    checkout_code(repository, Code(commit, ""), other)
    # What SIGKILL left at different moments of `git worktree add`.
    folder = repository / ".git" / "worktrees" / "tree"
    folder.mkdir()
    for name, text in notes:
        (folder / name).write_text(text.format(tree=tree))
    assert checkout_code(repository, Code(commit, ""), tree) == tree
    assert (tree / "tasks" / "one.py").read_text() == "a = 1\n"
    remove_worktree(repository, tree)
    assert not tree.exists() and not folder.exists()
    # Worktrees of other places stay.
    listed = git(repository, "worktree", "list")
    assert str(other) in listed and (other / "tasks" / "one.py").exists()
