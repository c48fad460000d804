"""Test the code digests that a snapshot of the sources keeps."""

from pathlib import Path

import pytest

from model.errors import UserError
from tasks.engine import cache_key, digest_cache
from tasks.engine.cache_key import check_code_digest, code_digest, source_digest
from tasks.engine.digest_cache import FOLDER, read_digest, write_digest
from tasks.engine.source_snapshot import read_sources, snapshot_digest
from tasks.project.paths import SOURCE_SNAPSHOTS
from tasks.split import split

PLACE = ("tasks.split", "split")


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """Return the folder of a snapshot."""
    folder = tmp_path / SOURCE_SNAPSHOTS / "0123456789abcdef0123"
    folder.mkdir(parents=True)
    return folder


def _kept_file(folder: Path) -> Path:
    (path,) = (folder / FOLDER).iterdir()
    return path


def test_read_digest_returns_what_was_written(snapshot):
    write_digest(snapshot, *PLACE, "ab" * 32)
    assert read_digest(snapshot, *PLACE) == "ab" * 32
    assert read_digest(snapshot, "tasks.split", "other") is None
    assert read_digest(snapshot, "tasks.gate", "split") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:40],
        lambda text: "\0" * len(text),
        lambda text: text.replace("ab", "ac", 1),
        lambda text: text + text,
    ],
)
def test_read_digest_damaged_file_counts_as_none(snapshot, change):
    write_digest(snapshot, *PLACE, "ab" * 32)
    path = _kept_file(snapshot)
    path.write_text(change(path.read_text()))
    assert read_digest(snapshot, *PLACE) is None


def test_read_digest_file_of_another_snapshot_counts_as_none(snapshot):
    write_digest(snapshot, *PLACE, "ab" * 32)
    other = snapshot.with_name("f" * 20)
    snapshot.rename(other)
    assert read_digest(other, *PLACE) is None


def test_read_digest_of_another_python_is_not_read(snapshot, monkeypatch):
    write_digest(snapshot, *PLACE, "ab" * 32)
    _kept_file(snapshot).rename(snapshot / FOLDER / "tasks.split.split.cpython-399")
    assert read_digest(snapshot, *PLACE) is None


def test_write_digest_outside_a_snapshot_writes_nothing(tmp_path):
    write_digest(tmp_path, *PLACE, "ab" * 32)
    assert list(tmp_path.iterdir()) == [] and read_digest(tmp_path, *PLACE) is None


def test_write_digest_unwritable_folder_is_no_error(snapshot):
    (snapshot / FOLDER).write_text("a file stands where the folder should be")
    write_digest(snapshot, *PLACE, "ab" * 32)
    assert read_digest(snapshot, *PLACE) is None


def test_snapshot_digest_kept_digests_do_not_change_it(snapshot):
    (snapshot / "tasks").mkdir()
    (snapshot / "tasks" / "one.py").write_text("ONE = 1\n")
    before = snapshot_digest(read_sources(snapshot))
    write_digest(snapshot, *PLACE, "ab" * 32)
    assert snapshot_digest(read_sources(snapshot)) == before


def test_check_code_digest_wrong_digest_is_removed(snapshot, monkeypatch):
    true_root = cache_key.ROOT
    real = source_digest(true_root, *PLACE)
    for name in ("read_digest", "write_digest", "forget_digest"):
        kept = getattr(digest_cache, name)
        monkeypatch.setattr(cache_key, name, lambda root, *rest, kept=kept: kept(snapshot, *rest))
    # The first call computes and keeps the digest; the second reads it.
    assert code_digest(split.function) == code_digest(split.function) == real
    check_code_digest(split.function)
    write_digest(snapshot, *PLACE, "ab" * 32)
    assert code_digest(split.function) == "ab" * 32
    with pytest.raises(UserError, match=r"tasks\.split\.split.* does not belong to the sources beside it"):
        check_code_digest(split.function)
    assert code_digest(split.function) == real
    check_code_digest(split.function)
