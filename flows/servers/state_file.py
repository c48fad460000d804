"""What `chatmill up` says of itself while it runs: one file, held by a lock that goes with the process."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.common.project_folder import prepare_records
from model.events import Message
from tasks.common.file_lock import exclusive_lock
from tasks.project.paths import PREFECT_HOME, SERVERS

_TRIES = 20
BETWEEN_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    """One that serves: its name, its id, its address (a worker has none), what it is for."""

    name: str
    pid: int
    address: str
    shows: str


@dataclass(frozen=True)
class Served:
    """What runs: the process that watches over it, since when (seconds), by which command.

    `prefect` is the address of Prefect's API, empty where that server is not one of these; `mlflow` that of
    MLflow's, where other hosts use it too: what runs here then goes through it as they do. `ready` says
    whether all have answered.
    """

    pid: int
    since: float
    command: str
    prefect: str = ""
    mlflow: str = ""
    ready: bool = False
    processes: tuple[Process, ...] = ()


def start_lock(root: Path, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Let one process at a time start servers here: two that create a database at once break it.

    Args:
        root: The project's folder.
        say: Told once what is waited for, if another process has the lock.
    """
    waits = "waiting until another chatmill process here has started its servers"
    return exclusive_lock(
        root / PREFECT_HOME / "starting.lock",
        lambda event: say(event.text) if isinstance(event, Message) else None,
        waits,
    )


def record_path(root: Path) -> Path:
    """The file, which stays when nothing runs: whether its lock is held says that."""
    return root / SERVERS


class StateFile:
    """The file, written anew with each change, for as long as this process holds it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write_state(self, served: Served) -> None:
        """In place, as the lock is the file's own."""
        text = json.dumps(asdict(served), indent=1).encode()
        os.pwrite(self.descriptor, text, 0)
        os.ftruncate(self.descriptor, len(text))

    def read_last(self) -> Served | None:
        """What a process left that was killed; None: the last one ended as it should."""
        return _parse_state(os.pread(self.descriptor, 1 << 20, 0))

    def clear_state(self) -> None:
        """Nothing runs any more."""
        os.ftruncate(self.descriptor, 0)


@contextmanager
def open_state_file(root: Path) -> Iterator[StateFile | None]:
    """The record, held by this process alone; None: another process holds it."""
    path = record_path(root)
    prepare_records(root)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield StateFile(descriptor) if _lock_descriptor(descriptor) else None
    finally:
        os.close(descriptor)


def _lock_descriptor(descriptor: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            # One that reads holds it for a moment; one that serves, for good.
            time.sleep(BETWEEN_SECONDS)
    return False


def read_served(root: Path) -> Served | None:
    """What runs now; None: nothing does."""
    try:
        with record_path(root).open("rb") as file:
            for _ in range(_TRIES):
                if not _is_held(file.fileno()):
                    return None
                file.seek(0)
                if found := _parse_state(file.read()):
                    return found
                # It is being written.
                time.sleep(BETWEEN_SECONDS)
    except OSError:
        pass
    return None


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _parse_state(text: bytes) -> Served | None:
    try:
        found: dict[str, Any] = json.loads(text)
        processes = tuple(Process(**one) for one in found.pop("processes"))
        return Served(**found, processes=processes)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
