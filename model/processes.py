"""Child processes: their environment, their private files, and their end when the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


def child_environment() -> dict[str, str]:
    """Return an environment in which a Python process imports from the sources of this one."""
    root = str(Path(__file__).resolve().parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        # Without it Python looks in the working directory first, whose sources may have changed since.
        "PYTHONSAFEPATH": "1",
    }


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read."""
    # An existing file would keep its mode, so it is removed first; O_EXCL refuses a link that takes its
    # place.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def return_free_memory() -> None:
    """Return memory that this process has freed to the system.

    Trainings keep it, as each step asks for the same sizes again (`RUNTIME` in model/training/launcher.py).
    What the loading of weights has freed is in other sizes, so later tensors would not fit there.
    """
    # Other C libraries than glibc have no such function.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def die_with_parent(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its parent dies.

    A flow killed by SIGKILL cannot end its children. On SIGTERM a training saves a checkpoint.

    Args:
        parent: The id of the process that started this one.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # If the parent died before the call, no signal comes.
    if os.getppid() != parent:
        os._exit(1)
