"""File locks that the operating system releases when their process ends, even if it is killed."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.events import EventCallback, Message

# Errors that a user gets who may read a folder but not write to it.
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def exclusive_lock(path: Path, on_event: EventCallback, waits: str) -> Iterator[None]:
    """Hold the lock of `path` while the context lasts; wait while another process holds it.

    A signal ends the waiting, so Ctrl-C works.

    Args:
        path: The file to lock; it is created if it is missing.
        on_event: Receives `waits` once if the lock is not free.
        waits: Text that tells the user what is waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike "w", mode "a" leaves the file of a process that holds the lock as it is.
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_event(Message(waits))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
