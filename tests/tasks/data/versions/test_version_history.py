"""Test the list of data versions, and finding one by revision or hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.versions import version_history
from tasks.dvc import version_list, versions
from tests.tasks.dvc_project import git, lay, meta, texts, three_texts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return three_texts(tmp_path / "project")


def test_version_log_lists_committed_and_uncommitted_versions(root: Path) -> None:
    git(root, "init", "-q")
    first = versions.add_version(root, "", meta("a", text=3))
    git(root, "add", "data.dvc")
    git(root, "commit", "-qm", "The first labels")
    lay(root, *texts("one", "two"))
    never = versions.add_version(root, "", meta("b", text=2))
    lay(root, *texts("one"))
    second = versions.add_version(root, "", meta("b", text=1))
    git(root, "commit", "-qam", "Fewer")
    lay(root, *texts("one", "nine"))
    third = versions.add_version(root, "", meta("c", text=2))
    found = version_history.version_log(root)
    assert found[0].hash == third and found[0].commit == ""
    assert {version.hash for version in found} == {first, never, second, third}
    committed = [version for version in found if version.commit]
    assert [version.hash for version in committed] == [second, first]
    assert [version.subject for version in committed] == ["Fewer", "The first labels"]
    assert committed[0].rows == {"text": 1} and committed[0].sources == "b"
    assert all(version.date for version in found)
    assert version_history.last_accepted(root) == second


def test_version_log_without_git_lists_remembered_versions(root: Path) -> None:
    first = versions.add_version(root, "", meta("a", text=3))
    lay(root, *texts("one", "two"))
    second = versions.add_version(root, "", meta("b", text=2))
    assert [version.hash for version in version_history.version_log(root)] == [second, first]
    assert version_history.last_accepted(root) == first
    assert version_history.find_version_hash(root, first[:8]) == first


def test_add_version_repeated_version_is_remembered_once(root: Path) -> None:
    first = versions.add_version(root, "", meta("a", text=3))
    lay(root, *texts("one", "two"))
    versions.add_version(root, "", meta("b", text=2))
    lay(root, *texts("one", "two", "three"))
    assert versions.add_version(root, "", meta("a", text=3)) == first
    assert len(version_list.remembered_versions(root)) == 2


@pytest.mark.parametrize("damage", [".git/HEAD", ".git/objects", ".git/refs"])
def test_last_accepted_damaged_git_is_refused(root: Path, damage: str) -> None:
    git(root, "init", "-q")
    versions.add_version(root, "", meta("a", text=3))
    git(root, "add", "data.dvc")
    git(root, "commit", "-qm", "one")
    lay(root, *texts("one", "two"))
    versions.add_version(root, "", meta("b", text=2))
    (root / damage).rename(root / "moved")
    with pytest.raises(UserError, match=r"is unknown: git does not recognise .*\.git as a repository"):
        version_history.last_accepted(root)


def test_last_accepted_before_second_version_is_refused(root: Path) -> None:
    versions.add_version(root, "", meta("a", text=3))
    with pytest.raises(UserError, match="there is no earlier version"):
        version_history.last_accepted(root)


def test_find_version_hash_revision_or_hash_is_found(root: Path) -> None:
    git(root, "init", "-q")
    first = versions.add_version(root, "", meta("a", text=3))
    git(root, "add", "data.dvc")
    git(root, "commit", "-qm", "a")
    git(root, "tag", "labels-1")
    (root / "other").write_text("x")
    git(root, "add", "other")
    git(root, "commit", "-qm", "b")
    for name in ("labels-1", "HEAD", "HEAD~1", git(root, "rev-parse", "HEAD"), first, first[:6], first[:32]):
        assert version_history.find_version_hash(root, name) == first
    git(root, "rm", "-q", "data.dvc")
    git(root, "commit", "-qm", "c")
    with pytest.raises(UserError, match=r"data\.dvc does not exist at HEAD"):
        version_history.find_version_hash(root, "HEAD")


@pytest.mark.parametrize("name", ["nothing", "abc", "--all", "zzzzzz", ""])
def test_find_version_hash_unknown_name_is_refused(root: Path, name: str) -> None:
    versions.add_version(root, "", meta("a", text=3))
    with pytest.raises(UserError, match="is not a version: neither a git revision nor 4 or more digits"):
        version_history.find_version_hash(root, name)


def test_find_version_hash_ambiguous_prefix_names_both(root: Path) -> None:
    entries = [{"md5": f"abcd{n}{'0' * 27}.dir", "meta": {}, "made": ""} for n in (1, 2)]
    path = root / version_list.KNOWN
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"md5": "tor')
    with pytest.raises(UserError, match=r"abcd matches abcd2\d+ and abcd1\d+; give more"):
        version_history.find_version_hash(root, "abcd")
    assert version_history.find_version_hash(root, "abcd1") == entries[0]["md5"]
