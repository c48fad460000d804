"""File locks that the operating system releases when their process ends, even if it is killed."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from model.events import EventCallback, Message

# Errors that a user gets who may read a folder but not write to it.
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_ATTEMPTS = 50


@contextmanager
def exclusive_lock(path: Path, on_event: EventCallback, waits: str) -> Iterator[None]:
    """Hold the lock of `path` while the context lasts; wait while another process holds it.

    A signal ends the waiting, so Ctrl-C works.

    Args:
        path: The file to lock; it is created if it is missing.
        on_event: Receives `waits` once if the lock is not free.
        waits: Text that tells the user what is waited for.
    """
    while True:
        with _open_file(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_event(Message(waits))
                fcntl.flock(file, fcntl.LOCK_EX)
            # `chatmill gc` may have removed the file meanwhile. The next process would lock a new file of
            # that name, and both would hold "the" lock.
            if not is_same_file(file, path):
                continue
            yield
            return


def _open_file(path: Path) -> IO[str]:
    for _ in range(_ATTEMPTS):
        # Another process may remove the empty folder between any two system calls of these lines.
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unlike "w", mode "a" leaves the file of a process that holds the lock as it is.
            return path.open("a")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a")


def is_same_file(file: IO[Any], path: Path) -> bool:
    """Return whether `path` still names an open file, so that its lock excludes other processes."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
