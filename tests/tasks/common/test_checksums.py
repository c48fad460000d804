"""Test checksums of files that are remembered while the files stay as they are."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from tasks.common import checksums
from tasks.project.dry_run import forbid_writes
from tasks.project.paths import DIGESTS


def test_file_sums_replaced_file_with_same_times_is_read_again(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path, text in ((one, "aaaa"), (other, "bbbb")):
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18))
    before = checksums.file_sums([one], tmp_path)
    other.replace(one)
    os.utime(one, ns=(10**18, 10**18))
    assert checksums.file_sums([one], tmp_path) != before
    in_place = checksums.file_sums([one], tmp_path)
    one.write_text("cccc")
    os.utime(one, ns=(10**18, 10**18))
    assert checksums.file_sums([one], tmp_path) != in_place


def test_file_sums_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "SETTLED_NS", -1)
    path = tmp_path / "file"
    path.write_text("aaaa")
    sums = [checksums.file_sums([path], tmp_path)]
    kept = json.loads((tmp_path / DIGESTS).read_text())
    assert len(kept) == 1
    path.write_text("bbbb")
    os.utime(path, ns=(10**18, 10**18))
    sums.append(checksums.file_sums([path], tmp_path))
    assert sums[0] != sums[1]
    assert checksums.file_sums([path], tmp_path, "md5") != sums[1]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
def test_file_sums_unwritable_record_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    file = tmp_path / "a"
    file.write_text("text")
    os.utime(file, (1, 1))

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(checksums, "SETTLED_NS", -1)
    monkeypatch.setattr(Path, "write_text", refuse)
    right = hashlib.sha256(b"text").hexdigest()
    assert checksums.file_sums([file], tmp_path) == [right] == checksums.file_sums([file], tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_file_sums_without_writes_reads_them_and_writes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "SETTLED_NS", -1)
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_text("aaaa")
    other.write_text("bbbb")
    with forbid_writes():
        found = checksums.file_sums([path, other], tmp_path)
        assert not (tmp_path / DIGESTS).parent.exists()
        with pytest.raises(ValueError), forbid_writes():
            raise ValueError
        checksums.file_sums([path], tmp_path)
        assert not (tmp_path / DIGESTS).exists()
    assert checksums.file_sums([path], tmp_path) == found[:1]
    before = (tmp_path / DIGESTS).stat().st_mtime_ns
    with forbid_writes():
        assert checksums.file_sums([path, other], tmp_path) == found
    assert (tmp_path / DIGESTS).stat().st_mtime_ns == before
