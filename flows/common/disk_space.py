"""Detection of a full disk. A program that ended because of it could often not log the reason."""

from __future__ import annotations

from pathlib import Path

from model.errors import UserError
from tasks.common.disk_space import is_folder_full

_WORDS = (b"no space left on device", b"disk is full", b"disk quota exceeded")
LOG_BYTES = 1 << 16


def is_disk_full(log: Path, since: int = 0) -> bool:
    """Return whether a log mentions a full disk, or its folder takes no more bytes.

    Args:
        log: The log file; it need not exist.
        since: The byte from which the log is read.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - LOG_BYTES))
            # Only the end of the log: the message of the disk is among the last lines, and a log can be
            # large.
            said = file.read(LOG_BYTES).lower()
    except OSError:
        said = b""
    if any(words in said for words in _WORDS):
        return True
    return is_folder_full(log.parent)


def start_failure(name: str, log: Path, since: int = 0) -> Exception:
    """Return the error for a server or worker that did not start: a UserError if its disk is full."""
    if is_disk_full(log, since):
        return UserError(
            f"{name} did not start: the disk with {log.parent} is full; free disk space and run again"
        )
    return RuntimeError(f"{name} did not start; see {log}")
