"""The mode of a dry run, in which no code writes into the project: neither caches nor records."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_writes = True


@contextmanager
def forbid_writes() -> Iterator[None]:
    """Let this process write nothing into the project, not even checksums, while the context lasts."""
    global _writes
    before, _writes = _writes, False
    try:
        yield
    finally:
        _writes = before


def may_write() -> bool:
    """Return whether this process may write into the project; False in a dry run."""
    return _writes


def temporary_folder() -> Path:
    """Create a folder outside the project for what a library writes; it is removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="chatmill-dry-run-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
