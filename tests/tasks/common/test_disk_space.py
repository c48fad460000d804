"""Test the detection of a full disk, on a real one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tasks.common.disk_space import check_room, fullest_folder, is_folder_full, little_space
from tests.small_disk import fill_disk, small_disk

SAID = "error: failed to write to 'model/big.py': No space left on device"


def test_is_folder_full_only_of_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        assert not is_folder_full(disk)
        fill_disk(disk, 9000)
        assert is_folder_full(disk)
    assert not is_folder_full(tmp_path) and not is_folder_full(tmp_path / "missing")


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        (SAID, 0),
        ("fatal: sha1 file write error: Disk quota exceeded", 0),
        ("error: unable to write a", 1 << 60),
    ],
)
def test_check_room_failed_write_names_folder(tmp_path: Path, said: str, needed: int) -> None:
    with pytest.raises(OSError, match="No space left") as found:
        check_room(tmp_path, said, needed)
    assert found.value.errno == errno.ENOSPC and found.value.filename == str(tmp_path)


@pytest.mark.parametrize("said", ["", "error: unable to write a", "fatal: permission denied"])
def test_check_room_other_failure_says_nothing(tmp_path: Path, said: str) -> None:
    check_room(tmp_path, said, 1000)


def test_fullest_folder_is_on_disk_with_least_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        assert fullest_folder((tmp_path, disk, tmp_path / "missing")) == disk
        assert "1.0 MB left" in little_space(disk)
    assert fullest_folder((tmp_path / "missing",)) is None
