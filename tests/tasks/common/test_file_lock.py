"""Test file locks between processes of one project."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tasks.cleanup.crash_cleanup import hold_if_free
from tasks.common.file_lock import exclusive_lock
from tests.waiting import PATIENCE


def test_exclusive_lock_file_removed_meanwhile_still_excludes(tmp_path: Path) -> None:
    path = tmp_path / "stage" / "key.lock"
    waits, holds, release = threading.Event(), threading.Event(), threading.Event()

    def wait_for_lock() -> None:
        with exclusive_lock(path, lambda event: waits.set(), "waiting"):
            holds.set()
            release.wait(PATIENCE)

    waiter = threading.Thread(target=wait_for_lock)
    with exclusive_lock(path, lambda event: None, ""):
        waiter.start()
        assert waits.wait(PATIENCE)
        path.unlink()
    assert holds.wait(PATIENCE)
    with hold_if_free(path) as mine:
        assert not mine
    release.set()
    waiter.join()
    with hold_if_free(path) as mine:
        assert mine


def test_exclusive_lock_folder_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    path, stop = tmp_path / "sources" / "lock", threading.Event()

    def remove() -> None:
        while not stop.is_set():
            path.unlink(missing_ok=True)
            # The folder is absent, or a lock was made in it since the line above.
            with suppress(OSError):
                path.parent.rmdir()

    remover = threading.Thread(target=remove, daemon=True)
    remover.start()
    try:
        for _ in range(50):
            with exclusive_lock(path, lambda event: None, ""):
                pass
    finally:
        stop.set()
        remover.join()


def test_exclusive_lock_impossible_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "gone" / "lock")
    with pytest.raises(FileNotFoundError), exclusive_lock(tmp_path / "lock", lambda event: None, ""):
        pass
