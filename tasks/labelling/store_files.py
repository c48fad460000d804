"""The files of an open SQLite database: whether they are still those that the path names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from model.errors import UserError

# The database, its write-ahead log, in which a commit is at first, and the index of that log with the locks.
_SUFFIXES = ("", "-wal", "-shm")


class StoreUnavailableError(UserError):
    """Nothing can be stored, as a file of the database was removed or replaced while it was open."""


class StoreFiles:
    """The files that a process has open for its database, by device and inode.

    SQLite goes on writing to an open file that no longer has a name. Such a commit is gone when the process
    ends.
    """

    def __init__(self, path: Path, shown: Path) -> None:
        """Take the file at `path` for the open one; messages name it `shown`."""
        self._path, self._shown = path.absolute(), shown
        self._open: Sequence[tuple[int, int] | None] = [_identify(self._path), None, None]

    def check(self) -> None:
        """Raise StoreUnavailableError unless each open file is still at its path, in a transaction."""
        if self._open[1] is None:
            # SQLite creates the log and its index with the first transaction.
            self._open = [self._open[0], *self._identities()[1:]]
        if fault := self.find_fault():
            raise StoreUnavailableError(fault)

    def find_fault(self) -> str:
        """Return a sentence about the files that are not at their paths; empty if all are."""
        for suffix, opened, now in zip(_SUFFIXES, self._open, self._identities(), strict=True):
            if opened is None or opened == now:
                continue
            return self._sentence(f"{suffix} {'was replaced' if now else 'is missing'}")
        # An emptied file has its inode still. Before the first connection it is empty by right.
        with suppress(FileNotFoundError):
            if self._open[1] and not self._path.stat().st_size:
                return self._sentence(" was emptied")
        return ""

    def _sentence(self, state: str) -> str:
        return (
            f"{self._shown}{state} while the label page has it open, so nothing is stored; put the earlier "
            "file back, or stop the page, restore a backup with `chatmill restore BACKUP`, and start it again"
        )

    def _identities(self) -> list[tuple[int, int] | None]:
        return [_identify(self._path.with_name(f"{self._path.name}{suffix}")) for suffix in _SUFFIXES]


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino
