"""Test the files of a source: link loops end, each file counts once, and no pipe is opened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.sources.source_files import walk_folders
from tasks.data.sources.source_reading import own_files
from tasks.data.sources.source_types import Source
from tests.any_user import as_any_user
from tests.waiting import PATIENCE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "sub/notes.pdf", ".hidden/d.txt"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(name)
    return tmp_path


def names(root: Path, *files: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in own_files(Source("s", files=files), root)]


ALL = ["texts/a.txt", "texts/sub/b.txt", "texts/sub/deep/c.txt"]


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("links", [["."], [".", "."], ["..", "sub"], ["sub", "sub/deep", ".", "../texts"]])
@pytest.mark.parametrize("pattern", ["texts", "texts/**/*.txt", "t*/**/*.txt"])
def test_own_files_link_loops_count_each_file_once(root: Path, links: list[str], pattern: str) -> None:
    for number, target in enumerate(links):
        (root / "texts" / f"z{number}").symlink_to(target)
    (root / "texts" / "sub" / "deep" / "up").symlink_to("../..")
    assert names(root, pattern) == ALL


def test_own_files_links_to_one_file_count_once(root: Path) -> None:
    (root / "texts" / "b1.txt").symlink_to("a.txt")
    (root / "texts" / "b2.txt").symlink_to("b1.txt")
    assert names(root, "texts") == ALL
    assert names(root, "texts/*.txt", "texts") == ALL
    assert names(root, "texts/b2.txt", "texts/a.txt") == ["texts/b2.txt"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("texts/*.txt", ["texts/a.txt"]),
        ("texts/**/c.txt", ["texts/sub/deep/c.txt"]),
        ("**/*.txt", ALL),
        ("texts/**", [*ALL[:2], ALL[2], "texts/sub/notes.pdf"]),
        ("texts/sub/**/*.txt", ALL[1:]),
        ("texts/**/deep/*", ALL[2:]),
    ],
)
def test_own_files_glob_patterns_match_as_in_python(root: Path, pattern: str, found: list[str]) -> None:
    assert names(root, pattern) == found


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("files", ["texts", "texts/*", "texts/**/*.txt", "texts/sub/pipe.txt"])
def test_own_files_pipe_device_or_dangling_link_is_refused(root: Path, files: str) -> None:
    deep = files != "texts/*"
    pipe = root / "texts" / ("sub/pipe.txt" if deep else "pipe.txt")
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=r"source s: .*pipe\.txt is a named pipe"):
        names(root, files)
    pipe.unlink()
    pipe.symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"pipe\.txt is a device"):
        names(root, files)
    pipe.unlink()
    pipe.symlink_to("/nowhere.txt")
    with pytest.raises(UserError, match=r"pipe\.txt leads nowhere"):
        names(root, files)


@pytest.mark.parametrize(
    "files", ["texts", "texts/*/b.txt", "texts/**/*.txt", "t*/s*/*.txt", "*/sub/**/c.txt"]
)
def test_own_files_folder_that_cannot_be_listed_is_refused(root: Path, files: str) -> None:
    (root / "texts" / "sub").chmod(0 if files.endswith("/b.txt") else 0o311)
    with (
        as_any_user(),
        pytest.raises(UserError, match=r"source s: the folder .*texts/sub cannot be listed \(Permission"),
    ):
        names(root, files)
    (root / "texts" / "sub").chmod(0o755)
    assert "texts/sub/b.txt" in names(root, "texts")


@pytest.mark.parametrize("folder", [".cache", "lost+found"])
def test_own_files_folders_that_are_no_source_may_be_unlisted(root: Path, folder: str) -> None:
    (root / "texts" / folder).mkdir()
    (root / "texts" / folder).chmod(0)
    with as_any_user():
        assert names(root, "texts") == names(root, "texts/**/*.txt") == ALL


@pytest.mark.parametrize(
    ("gone", "left"),
    [("sub", ["a.txt"]), ("sub/deep", ["a.txt", "b.txt", "notes.pdf"]), ("", [])],
)
def test_walk_folders_folder_that_vanishes_meanwhile_is_skipped(
    root: Path, gone: str, left: list[str]
) -> None:
    found: list[str] = []
    if not gone:
        shutil.rmtree(root / "texts")
    for place, _, files in walk_folders(root / "texts"):
        if place == (root / "texts" / gone).parent:
            shutil.rmtree(root / "texts" / gone)
        found += files
    assert sorted(found) == left


@pytest.mark.parametrize("name", [b"bad\xff.txt", b"caf\xe9.txt", b"\xc3.txt"])
@pytest.mark.parametrize("pattern", ["texts", "texts/*.txt", "texts/**/*.txt"])
def test_own_files_name_outside_utf8_is_refused(root: Path, name: bytes, pattern: str) -> None:
    Path(os.fsdecode(os.fsencode(root / "texts") + b"/" + name)).write_text("A text.")
    with pytest.raises(UserError, match=r"its name is not UTF-8; rename it"):
        names(root, pattern)
