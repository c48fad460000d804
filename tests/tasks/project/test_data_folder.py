"""Test the folder data/: foreign files are kept, and rows are replaced in one step."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from model.errors import UserError
from tasks.data.records import TYPES
from tasks.data.sources.source_types import DataParameters, Source
from tasks.dvc import version_list, versions
from tasks.dvc.pointer_file import read_pointer
from tasks.ingest import publish_rows
from tasks.onboarding.source_preview import dry_run
from tasks.project import data_folder
from tasks.validate import ValidateParameters
from tests.tasks.dvc_project import git
from tests.tasks.ingest_project import OWN, everything, first, run, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, {"text": "one"}, {"text": "two"}, {"prompt": "a", "completion": "b"})
    return tmp_path


def put(root: Path, name: str, text: str = "mine\n") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


ROW = '{"id":"0123456789abcdef","text":"mine","source":"s","group":"g"}\n'


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["data/pairs.jsonl"], "{}\n"),
        (["data/text/00000.jsonl"], ROW),
        (["data/text/book.txt", "data/ratings/NOTES"], "notes"),
        (["data/raw/2024/dump.csv"], "a,b\n"),
        (["data/.hidden"], "x"),
        (["data/text.jsonl", "data/comparisons.jsonl"], ROW),
    ],
)
def test_claim_data_own_files_are_refused_and_kept(root: Path, names: list[str], text: str) -> None:
    for name in names:
        put(root, name, text)
    before = everything(root / "data")
    what = "is not a file" if len(names) == 1 else f"and {len(names) - 1} more are not files"
    with pytest.raises(UserError, match=rf"{sorted(names)[0]} {what} that chatmill wrote.*move"):
        run(root)
    assert everything(root / "data") == before and not (root / "data.dvc").exists()


@pytest.mark.parametrize("name", ["notes.txt", "text/00007.jsonl", "text/extra/a.jsonl", "pairs.jsonl"])
def test_claim_data_file_added_to_chatmills_folder_is_refused(root: Path, name: str) -> None:
    run(root)
    put(root / "data", name)
    write(root, {"text": "three"}, name="b")
    before = everything(root / "data")
    with pytest.raises(UserError, match=f"data/{name}"):
        run(root)
    assert everything(root / "data") == before
    (root / "data" / name).unlink()
    if (root / "data/text/extra").exists():
        (root / "data/text/extra").rmdir()
    assert run(root)["text"] == 3


def test_claim_data_links_and_special_files_are_refused(root: Path, tmp_path: Path) -> None:
    run(root)
    (tmp_path / "else").mkdir()
    put(tmp_path, "else/mine.txt")
    (root / "data/text/more").symlink_to(tmp_path / "else")
    os.mkfifo(root / "data/pipe")
    with pytest.raises(UserError, match="data/pipe and 1 more"):
        run(root, None)
    assert (tmp_path / "else/mine.txt").read_text() == "mine\n"


def test_claim_data_file_or_dangling_link_is_named(root: Path) -> None:
    put(root, "data")
    with pytest.raises(UserError, match="data is a file"):
        run(root)
    assert (root / "data").read_text() == "mine\n"
    (root / "data").unlink()
    (root / "data").symlink_to("/nowhere/at/all")
    with pytest.raises(UserError, match="data is a link to /nowhere/at/all"):
        run(root)


@pytest.mark.parametrize("meta", [None, {}, {"layout": 2}, {"owner": "me", "rows": 7}])
def test_claim_data_pointer_of_another_owner_is_refused(root: Path, meta: object) -> None:
    put(root, "data/text/book.txt")
    found = {"outs": [{"md5": "0" * 32 + ".dir", "path": "data"}], **({"meta": meta} if meta else {})}
    put(root, "data.dvc", yaml.safe_dump(found))
    with pytest.raises(UserError, match=r"data\.dvc is not chatmill's"):
        run(root)
    assert yaml.safe_load((root / "data.dvc").read_text()) == found
    assert (root / "data/text/book.txt").exists()


def test_claim_data_folder_of_older_version_is_accepted(root: Path) -> None:
    run(root)
    for path in (root / "data" / data_folder.STATE).iterdir():
        path.unlink()
    (root / "data" / data_folder.STATE).rmdir()
    write(root, {"text": "three"}, name="b")
    assert run(root)["text"] == 3
    # Without the list, files that match no version may be the user's.
    (root / "data" / data_folder.STATE / data_folder.LIST).unlink()
    first(root).write_text(ROW)
    with pytest.raises(UserError, match=r"not a version of data\.dvc"):
        run(root)
    assert first(root).read_text() == ROW


def test_claim_data_version_of_another_commit_is_accepted(root: Path) -> None:
    git(root, "init", "-q")
    run(root)
    git(root, "add", "data.dvc", ".gitignore")
    git(root, "commit", "-qm", "one")
    (root / "data" / data_folder.STATE / data_folder.LIST).unlink()
    (root / version_list.KNOWN).unlink()
    pointer = yaml.safe_load((root / "data.dvc").read_text())
    pointer["outs"][0]["md5"] = "1" * 32 + ".dir"  # a pointer that `git pull` brought from another person
    put(root, "data.dvc", yaml.safe_dump(pointer))
    write(root, {"text": "three"}, name="b")
    assert run(root)["text"] == 3


def test_claim_data_gitkeep_folder_counts_as_empty(root: Path) -> None:
    put(root, "data/.gitkeep", "")
    (root / "data/lost+found").mkdir()
    assert run(root)["text"] == 2
    assert (root / "data/.gitkeep").exists() and (root / "data/lost+found").is_dir()


def test_folder_hash_equals_hash_of_dvc(root: Path) -> None:
    git(root, "init", "-q")
    put(root, "data/.gitkeep", "")
    found = run(root)["data_hash"]
    put(root, "data/quarantine/text/00000.jsonl", ROW)
    with Repo(str(root)) as repo:
        assert repo.status(targets=[str(root / "data.dvc")]) == {}
        repo.add(targets=[str(root / "data")])
    assert read_pointer(root)["md5"] == found  # type: ignore[index]
    assert git(root, "status", "--porcelain", "data") == ""


@pytest.fixture
def other_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an empty folder on another file system."""
    place = tmp_path_factory.mktemp("disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        shm = Path("/dev/shm")
        if not shm.is_dir() or shm.stat().st_dev == place.stat().st_dev:
            pytest.skip("there is no second file system here")
        place = shm / f"chatmill-{os.getpid()}"
        place.mkdir()
    yield place
    if done.returncode:
        subprocess.run(["rm", "-r", str(place)], check=True)
    else:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_ingest_data_linked_to_another_disk_is_replaced(root: Path, other_disk: Path) -> None:
    (root / "data").symlink_to(other_disk)
    before = run(root)["data_hash"]
    write(root, {"text": "three"}, name="b")
    assert run(root)["data_hash"] != before
    assert (root / "data").is_symlink() and (other_disk / "text" / "00000.jsonl").exists()
    first(root).unlink()
    assert versions.checkout_data(root) and first(root).exists()


def test_ingest_data_as_mount_point_is_replaced(root: Path) -> None:
    data = root / "data"
    data.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(data)], capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        before = run(root)["data_hash"]
        write(root, {"text": "three"}, name="b")
        assert run(root)["data_hash"] != before
        with (data / "lost+found").open("wb") as file, pytest.raises(OSError, match="No space"):
            file.write(bytes(2 << 20))
        write(root, *({"text": f"text {number}"} for number in range(900)), name="c")
        was = everything(data)
        with pytest.raises(UserError, match="No space left on device"):
            run(root)
        assert everything(data) == was
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


def rows(folder: Path, text: str) -> Path:
    for kind in TYPES:
        put(folder, f"{kind}/00000.jsonl", text)
    return folder


@pytest.mark.parametrize("at", range(12))
def test_publish_rows_killed_at_any_rename_is_completed(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = rows(tmp_path / "old", "old\n"), rows(tmp_path / "new", "new\n")
    publish_rows(old, tmp_path)
    left = [at]
    whole = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return whole(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    try:
        publish_rows(new, tmp_path)
    except KeyboardInterrupt:
        monkeypatch.undo()
        assert not data_folder.foreign_files(tmp_path / "data")
        data_folder.finish_replacement(tmp_path / "data")
    found = {path.read_text() for path in data_folder.data_files(tmp_path / "data").values()}
    assert found == ({"new\n"} if at else {"old\n"})
    assert not data_folder.is_interrupted(tmp_path / "data")


@pytest.mark.parametrize("name", ["../../.bashrc", "text/../../x.jsonl", "notes.txt", "text/00000.jsonl/x"])
def test_replace_rows_name_outside_layout_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, "there")
    with pytest.raises(UserError, match="not a file of rows"):
        data_folder.replace_rows(tmp_path, {name: tmp_path / "there"})
    assert not (tmp_path / "data").exists()


def test_ingest_source_in_data_folder_is_refused(root: Path) -> None:
    run(root)
    (root / "again").symlink_to(root / "data" / "text")
    for files in ("data/text/*.jsonl", "data", "again"):
        with pytest.raises(UserError, match=r"source s: .* is in data/"):
            run(root, DataParameters((OWN, Source("s", "rows", files=files))))


@pytest.mark.parametrize("name", ["notes.txt", "text/mine.csv", "old/text/00000.jsonl"])
def test_claim_data_own_file_in_quarantine_is_refused(root: Path, name: str) -> None:
    put(root, f"data/quarantine/{name}")
    with pytest.raises(UserError, match=f"data/quarantine/{name}"):
        run(root)
    assert (root / "data/quarantine" / name).exists()


def test_dry_run_refuses_what_ingest_refuses(root: Path) -> None:
    put(root, "data/book.txt")
    with dry_run(DataParameters((OWN,)), ValidateParameters(), root, lambda event: None) as found:
        assert "data/book.txt is not a file that chatmill wrote" in str(found.stop)
    assert not (root / "data" / data_folder.STATE).exists()
