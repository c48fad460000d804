"""A guard against named pipes and devices where a file is expected, for every open of the process.

Opening a named pipe waits until another process opens its other end, and reading a device such as /dev/zero
never ends. Checks at single calls would miss the libraries, which open files of the project too.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import Any

# Paths there are meant as devices and pipes, as in /dev/null, /dev/stdin and /proc/self/fd/3.
_SYSTEM = ("/dev/", "/proc/")
_installed = False


def refuse_special_files() -> None:
    """Make each later open of a named pipe or a device by its path raise OSError (ENXIO).

    The guard cannot be removed. Open descriptors, paths in /dev and /proc, and opens that do not wait
    (O_NONBLOCK) are left alone. Libraries that open files without Python are not covered.
    """
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_check_event)


def _check_event(event: str, arguments: tuple[Any, ...]) -> None:
    # Every event of the process comes here, so the comparison is all that most of them cost.
    if event == "open":
        _check_open(arguments[0], arguments[2])


def _check_open(path: object, flags: object) -> None:
    if not isinstance(path, str | bytes) or (isinstance(flags, int) and flags & os.O_NONBLOCK):
        return
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        # A missing file, or an error that the open itself reports.
        return
    special = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    if special and not os.path.abspath(os.fsdecode(path)).startswith(_SYSTEM):
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), os.fsdecode(path))
