"""Whether a disk is full: what a program that ended for it could often not write down."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from model.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = (b"no space left on device", b"disk is full", b"disk quota exceeded")
PROBE_BYTES = 1 << 16
LOG_BYTES = 1 << 16


def is_disk_full(log: Path, since: int = 0) -> bool:
    """Return whether a log speaks of a full disk from byte `since` on, or its folder takes no more bytes."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - LOG_BYTES))
            said = file.read(LOG_BYTES).lower()
    except OSError:
        said = b""
    if any(words in said for words in _WORDS):
        return True
    try:
        with tempfile.TemporaryFile(dir=log.parent, buffering=0) as file:
            # A regular write: a file system may promise space that a write does not get.
            return file.write(os.urandom(PROBE_BYTES)) < PROBE_BYTES
    except OSError as error:
        return error.errno in _FULL


def start_failure(name: str, log: Path, since: int = 0) -> Exception:
    """Return the error for a server or worker that did not start; a UserError where its disk is full."""
    if is_disk_full(log, since):
        return UserError(f"{name} did not start: the disk with {log.parent} is full; make room and run again")
    return RuntimeError(f"{name} did not start; {log} says why")
