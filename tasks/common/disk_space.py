"""Whether a disk has room: a write is tried, as the space that a file system reports may not be available."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from model.events import FULL

PROBE_BYTES = 1 << 16
# A write that fails for lack of room frees the room of its unfinished file again.
_LITTLE_BYTES = 64 << 20
# What programs such as git write about a full disk.
_WORDS = ("no space left on device", "disk quota exceeded")


def is_folder_full(folder: Path) -> bool:
    """Return whether a folder takes no more bytes; False if it cannot be written for another reason."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(os.urandom(PROBE_BYTES)) < PROBE_BYTES
    except OSError as error:
        return error.errno in FULL


def full_disk_error(folder: Path) -> OSError:
    """Return the error of a full disk, which names a folder on it."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def check_room(folder: Path, said: str, needed: int = 0) -> None:
    """Raise OSError if a program failed because the disk of a folder is full.

    Args:
        folder: The folder that the program wrote to.
        said: What the program printed.
        needed: The bytes that it had to write; it may have removed them again.
    """
    if any(words in said.lower() for words in _WORDS) or is_folder_full(folder):
        raise full_disk_error(folder)
    if shutil.disk_usage(folder).free < needed:
        raise full_disk_error(folder)


def fullest_folder(folders: Iterable[Path]) -> Path | None:
    """Return the folder whose disk has the least free space; None if none of them exists."""
    free = {}
    for folder in folders:
        with suppress(OSError):
            free[folder] = shutil.disk_usage(folder).free
    return min(free, key=lambda folder: free[folder]) if free else None


def little_space(folder: Path) -> str:
    """Return how much space a disk has left, as the end of a sentence; empty if that is not little."""
    free = shutil.disk_usage(folder).free
    if free >= _LITTLE_BYTES:
        return ""
    return f"; the disk with {folder} has {free / 1e6:.1f} MB left: free disk space if that stopped it"
