"""Test that data/ matches data.dvc, and that a damaged cache or remote is repaired."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from model.errors import UserError
from tasks.cleanup.crash_cleanup import clean_up_crashes
from tasks.common import checksums
from tasks.data.sources.source_types import DataParameters
from tasks.data.versions import version_history
from tasks.dvc import version_list, versions
from tasks.dvc.pointer_file import read_pointer
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tests.tasks.dvc_project import bare_clone, contents, lay, meta, texts, three_texts
from tests.tasks.ingest_project import OWN, first, write

LABELS = [
    {"prompt": f"p{number}", "a": "x", "b": "y", "choice": "a", "annotator": "ann"} for number in range(9)
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    write(project, {"text": "one"}, {"text": "two"}, {"prompt": "a", "completion": "b"}, *LABELS)
    return project


def make(root: Path, remote: str = "", said: list[str] | None = None) -> tuple[bool, str]:
    """Run ingestion; return whether it was reused, and its data hash."""
    notes: list[str] = [] if said is None else said
    made = ingest.run(
        DataParameters((OWN,), remote=remote),
        {},
        StageContext(root),
        lambda event: notes.append(getattr(event, "text", "")),
    )
    return made.reused, str(made.metrics["data_hash"])


def flip(path: Path, place: int = 40) -> None:
    """Change one bit of a file and keep its size and times."""
    state, mode = path.stat(), path.stat().st_mode
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(bytes(content))
    path.chmod(mode)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def objects(folder: Path) -> list[Path]:
    """Return the files of a version in a cache or remote folder, the largest first."""
    found = [path for path in (folder / "files" / "md5").glob("*/*") if path.suffix != ".dir"]
    return sorted(found, key=lambda path: -path.stat().st_size)


def test_ingest_edit_of_same_length_and_its_undo_change_hash(root: Path) -> None:
    source = root / "texts" / "a.jsonl"
    before = source.read_text()
    named = make(root)[1]
    source.write_text(before.replace('"choice": "a"', '"choice": "b"', 1))
    other = make(root)[1]
    assert other != named
    source.write_text(before)
    assert make(root)[1] == named == versions.folder_hash(root) == read_pointer(root)["md5"]  # type: ignore[index]
    source.write_text(before.replace('"choice": "a"', '"choice": "b"', 1))
    assert make(root)[1] == other == read_pointer(root)["md5"]  # type: ignore[index]
    assert make(root) == (True, other)


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "zeros"])
def test_ingest_damaged_data_is_made_again(root: Path, damage: str) -> None:
    named = make(root)[1]
    whole, path = contents(root), first(root)
    if damage == "bit":
        flip(path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes(path.stat().st_size))
    said: list[str] = []
    assert make(root, said=said) == (False, named) and contents(root) == whole
    assert any("data/ differs from data.dvc" in text for text in said)


def make_killed_at(root: Path, name: str) -> None:
    """Run ingestion and interrupt it before the file `name` is renamed to its place."""
    whole = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if target.name == name:
            raise KeyboardInterrupt
        return whole(path, target)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", replace)
        make(root)


def test_ingest_killed_before_pointer_rename_keeps_former_version(root: Path) -> None:
    make(root)
    before = (root / "data.dvc").read_bytes()
    write(root, {"text": "three"}, name="b")
    make_killed_at(root, "data.dvc")
    assert (root / "data.dvc").read_bytes() == before
    (root / "texts" / "b.jsonl").unlink()
    # The next run makes the former version from the former sources.
    assert make(root)[1] == yaml.safe_load(before)["outs"][0]["md5"] == versions.folder_hash(root)
    assert b'"three"' not in b"".join(contents(root).values())
    # A killed process leaves its partial file.
    (root / "data.dvc.part").write_bytes(before[:20])
    assert (
        any("data.dvc.part" in note for note in clean_up_crashes(root))
        and not (root / "data.dvc.part").exists()
    )


def test_ingest_killed_after_pointer_rename_is_completed(root: Path) -> None:
    named = make(root)[1]
    write(root, {"text": "three"}, name="b")
    make_killed_at(root, "versions.jsonl")
    other = make(root)[1]
    assert [entry["md5"] for entry in version_list.remembered_versions(root)] == [named, other]
    assert {entry["meta"]["rows"]["text"] for entry in version_list.remembered_versions(root)} == {2, 3}
    assert [version.rows["text"] for version in version_history.version_log(root)] == [3, 2]


def test_ingest_pointer_keeps_keys_of_user(root: Path) -> None:
    make(root)
    found = yaml.safe_load((root / "data.dvc").read_text())
    assert set(found["outs"][0]) == {"md5", "size", "nfiles", "hash", "path"}
    (root / "data.dvc").write_text(yaml.safe_dump({**found, "desc": "our labels"}, sort_keys=False))
    write(root, {"text": "three"}, name="b")
    make(root)
    assert yaml.safe_load((root / "data.dvc").read_text())["desc"] == "our labels"


def test_ingest_damaged_cache_is_repaired_before_push(root: Path, tmp_path: Path) -> None:
    make(root)
    cache, remote = root / ".dvc" / "cache", tmp_path / "remote"
    flip(objects(cache)[0])
    flip(objects(cache)[1], 3)
    make(root)  # reused: nothing is sent
    shutil.rmtree(root / "var")
    make(root, str(remote))
    for path in (*objects(cache), *objects(remote)):
        assert checksums.file_sum(path, "md5") == path.parent.name + path.name
    clone = bare_clone(root, tmp_path)
    assert versions.pull_data(clone, str(remote)) and contents(clone) == contents(root)


def test_push_data_damaged_cache_without_copy_is_refused(tmp_path: Path) -> None:
    root = three_texts(tmp_path / "project")
    versions.add_version(root, "", meta("a", text=3))
    flip(objects(root / ".dvc" / "cache")[0])
    lay(root, *texts("other"))
    with pytest.raises(UserError, match="is not here whole"):
        versions.push_data(root, str(tmp_path / "remote"))
    assert not list((tmp_path / "remote").rglob("*.dir"))
    # It is not taken for the version either.
    assert not versions.checkout_data(root)
    assert b"other" in b"".join(contents(root).values())


@pytest.mark.parametrize("listing", [False, True])
def test_ingest_damaged_remote_is_repaired_from_sources(root: Path, tmp_path: Path, listing: bool) -> None:
    remote = tmp_path / "remote"
    make(root, str(remote))
    flip(next(remote.rglob("*.dir")) if listing else objects(remote)[0])
    # A clone with the sources makes the rows again and repairs the damaged remote.
    clone = bare_clone(root, tmp_path)
    shutil.copytree(root / "texts", clone / "texts")
    assert make(clone, str(remote))[1] == versions.folder_hash(root)
    for path in objects(remote):
        assert checksums.file_sum(path, "md5") == path.parent.name + path.name
    third = tmp_path / "third"
    third.mkdir()
    shutil.copy(root / "data.dvc", third)
    assert versions.pull_data(third, str(remote)) and contents(third) == contents(root)


def test_pull_data_damaged_cache_is_replaced_from_remote(root: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    make(root, remote)
    whole = contents(root)
    flip(objects(root / ".dvc" / "cache")[0])
    shutil.rmtree(root / "data")
    assert versions.pull_data(root, remote) and contents(root) == whole
    assert versions.checkout_data(root)


def test_checkout_data_listing_outside_data_is_refused(tmp_path: Path) -> None:
    root = three_texts(tmp_path / "project")
    version = versions.add_version(root, "", meta("a", text=3))
    content = json.dumps([{"md5": "0" * 32, "relpath": "../../stolen"}]).encode()
    evil = versions._hash_of(content)
    place = root / ".dvc/cache/files/md5" / evil[:2] / evil[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    (root / ".dvc/cache/files/md5/00").mkdir(exist_ok=True)
    (root / ".dvc/cache/files/md5/00" / ("0" * 30)).write_text("stolen")
    (root / "data.dvc").write_text((root / "data.dvc").read_text().replace(version, evil))
    with pytest.raises(UserError, match="not a file of rows"):
        versions.checkout_data(root)
    assert not (tmp_path / "stolen").exists()


def test_clean_up_crashes_partial_cache_objects_are_removed(tmp_path: Path) -> None:
    root = three_texts(tmp_path / "project")
    versions.add_version(root, "", meta("a", text=3))
    cache = root / ".dvc" / "cache" / "files" / "md5"
    left = [cache / "ab" / ".x7f.tmp", cache / ".abc.tmp"]
    alive = cache / "cd" / ".live.tmp"
    for path in (*left, alive):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    before = objects(root / ".dvc" / "cache")
    with alive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert len(clean_up_crashes(root)) == 2
    assert not any(path.exists() for path in left) and alive.exists()
    alive.unlink()
    assert objects(root / ".dvc" / "cache") == [path for path in before if path.exists() and path not in left]
    assert versions.checkout_data(root)
