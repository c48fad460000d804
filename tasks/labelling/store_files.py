"""The files of an open SQLite database: whether they are still those that the path names."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from model.errors import UserError
from tasks.project.database_check import HEADER

# The database, its write-ahead log, in which a commit is at first, and the index of that log with the locks.
_SUFFIXES = ("", "-wal", "-shm")
_Identity = tuple[int, int]
# The first 72 bytes of a database have two numbers of the application: `user_version`, in which a store
# counts its commits, and `application_id`, by which it is told from other stores
# (https://sqlite.org/fileformat2.html).
_NUMBERS = struct.Struct(">60xI4xI")


class _OpenHeaders:
    """The descriptors by which this process reads the start of its databases, one for each file.

    SQLite's locks are those of the process: the first descriptor of a file that is closed drops them all. So
    a descriptor is closed with the last store of its file, and not after each look.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[_Identity, tuple[int, int]] = {}

    def hold(self, path: Path) -> _Identity | None:
        """Open a file, or count one more user of it; return its identity. None: there is none."""
        with self._lock:
            found = _identify(path)
            if found is None:
                return None
            descriptor, users = self._open.get(found) or (os.open(path, os.O_RDONLY), 0)
            self._open[found] = descriptor, users + 1
            return found

    def release(self, file: _Identity) -> None:
        """Count one user less; close the descriptor with the last one."""
        with self._lock:
            descriptor, users = self._open.pop(file)
            if users > 1:
                self._open[file] = descriptor, users - 1
            else:
                os.close(descriptor)

    def read(self, file: _Identity) -> bytes:
        """Return the start of a file that is held."""
        with self._lock:
            return os.pread(self._open[file][0], _NUMBERS.size, 0)


_HEADERS = _OpenHeaders()


class StoreUnavailableError(UserError):
    """Nothing can be stored, as a file of the database was removed or replaced while it was open."""


class StoreFiles:
    """The files that a process has open for its database, by device and inode.

    SQLite goes on writing to an open file that no longer has a name. Such a commit is gone when the process
    ends. Nor does it notice that a file was overwritten in place, as by `cp`: each commit of a store raises a
    number at the file's start, which then goes back, or is that of another store.
    """

    def __init__(self, path: Path, shown: Path) -> None:
        """Take the file at `path` for the open one; messages name it `shown`."""
        self._path, self._shown = path.absolute(), shown
        self._open: Sequence[_Identity | None] = [_HEADERS.hold(self._path), None, None]
        # What the start of the file had when it was last read: the number of commits, and the store.
        self._commits = self._store = 0

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
        # Twice, as another process may be writing the page at this moment.
        if self._is_overwritten() and self._is_overwritten():
            return self._sentence(" was overwritten by another file")
        return ""

    def _is_overwritten(self) -> bool:
        start = _HEADERS.read(self._open[0]) if self._open[0] else b""
        if len(start) < _NUMBERS.size:
            return False
        commits, store = _NUMBERS.unpack(start)
        if not start.startswith(HEADER) or commits < self._commits or self._store not in (0, store):
            return True
        self._commits, self._store = commits, store
        return False

    def close(self) -> None:
        """End the reading of the file. The store's connections must be closed."""
        if self._open[0]:
            _HEADERS.release(self._open[0])
            self._open = [None, None, None]

    def _sentence(self, state: str) -> str:
        return (
            f"{self._shown}{state} while the label page has it open, so nothing is stored; put the earlier "
            "file back, or stop the page, restore a backup with `chatmill restore BACKUP`, and start it again"
        )

    def _identities(self) -> list[_Identity | None]:
        return [_identify(self._path.with_name(f"{self._path.name}{suffix}")) for suffix in _SUFFIXES]


def _identify(path: Path) -> _Identity | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino
