"""The state of a running `chatmill up`: one file, held by a lock that ends with the process."""

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
# The key of what is kept when nothing runs.
_ADDRESSES = "addresses"
BETWEEN_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    """A running service: its name, process id, address (a worker has none) and purpose."""

    name: str
    pid: int
    address: str
    shows: str


@dataclass(frozen=True)
class Served:
    """The services that run: the supervising process, its start in seconds since 1970, and its command.

    `prefect` is the address of Prefect's API, empty if that server is not one of these. `mlflow` is that of
    MLflow's server if other hosts use it too; runs on this host then use it as well. `ready` is true once all
    have answered.
    """

    pid: int
    since: float
    command: str
    prefect: str = ""
    mlflow: str = ""
    ready: bool = False
    processes: tuple[Process, ...] = ()


def start_lock(root: Path, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Return a lock for starting servers: two processes that create a database at once break it.

    Args:
        root: The project's folder.
        say: Called once with a sentence if another process holds the lock.
    """
    waits = "waiting for another chatmill process to start its servers"
    return exclusive_lock(
        root / PREFECT_HOME / "starting.lock",
        lambda event: say(event.text) if isinstance(event, Message) else None,
        waits,
    )


def record_path(root: Path) -> Path:
    """Return the file's path. The file remains when nothing runs; only its lock tells."""
    return root / SERVERS


class StateFile:
    """The open state file, which is rewritten with each change while this process holds its lock."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write_state(self, served: Served) -> None:
        """Write the state in place: a renamed new file would not carry the lock."""
        text = json.dumps(asdict(served), indent=1).encode()
        os.pwrite(self.descriptor, text, 0)
        # Written first, then cut: a reader in between gets invalid JSON, and reads again.
        os.ftruncate(self.descriptor, len(text))

    def read_last(self) -> Served | None:
        """Return the state that a killed process left; None if the last one ended normally."""
        return _parse_state(os.pread(self.descriptor, 1 << 20, 0))

    def clear_state(self) -> None:
        """Record that nothing runs any more. The addresses of the pages stay, as people start them again."""
        last = self.read_last()
        text = json.dumps({_ADDRESSES: _page_addresses(last)}).encode() if last else b""
        os.pwrite(self.descriptor, text, 0)
        os.ftruncate(self.descriptor, len(text))


@contextmanager
def open_state_file(root: Path) -> Iterator[StateFile | None]:
    """Yield the state file, locked by this process; None if another process holds it."""
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
            # A reader holds the lock for a moment, a running `up` all the time, so a few tries tell them
            # apart.
            time.sleep(BETWEEN_SECONDS)
    return False


def read_served(root: Path) -> Served | None:
    """Return what runs now; None if nothing does."""
    try:
        with record_path(root).open("rb") as file:
            for _ in range(_TRIES):
                if not _is_held(file.fileno()):
                    return None
                file.seek(0)
                if found := _parse_state(file.read()):
                    return found
                # No valid content: the file is just being written.
                time.sleep(BETWEEN_SECONDS)
    except OSError:
        pass
    return None


def last_addresses(root: Path) -> dict[str, str]:
    """Return the addresses of the pages that run or ran last, by the service's name; empty if none did."""
    try:
        text = record_path(root).read_bytes()
        if served := _parse_state(text):
            return _page_addresses(served)
        found = json.loads(text)[_ADDRESSES]
        return {str(name): str(address) for name, address in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _page_addresses(served: Served) -> dict[str, str]:
    return {one.name: one.address for one in served.processes if one.address}


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
        served = Served(**found, processes=processes)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    # The ids are compared with those of running programs, so a damaged file must not bring other values.
    pids = [served.pid, *(one.pid for one in processes)]
    texts = [served.command, served.prefect, served.mlflow, *(one.name for one in processes)]
    right = all(type(pid) is int and pid > 0 for pid in pids) and all(type(text) is str for text in texts)
    return served if right else None
