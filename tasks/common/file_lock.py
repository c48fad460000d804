"""Locks that go with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.events import EventCallback, Message

# What a user gets who may read a folder and not write to it.
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def exclusive_lock(path: Path, report: EventCallback, waits: str) -> Iterator[None]:
    """One process at a time for as long as the context lasts; who must wait is told so by `waits`.

    A signal ends the waiting: Ctrl-C is heard.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(Message(waits))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
