"""Folders and files that only their owner may read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_OTHERS = 0o077


def make_private_folder(path: Path) -> bool:
    """Create a folder that only its owner may enter, with its parents.

    Returns:
        Whether the folder was there with wider permissions, which are taken away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # mkdir's mode is cut by the umask, which never adds bits.
        path.mkdir(mode=PRIVATE_FOLDER)
        return False
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _OTHERS or path.stat().st_uid != os.geteuid():
        return False
    path.chmod(mode & ~_OTHERS)
    return True


def read_or_create(path: Path, create: Callable[[], str]) -> str:
    """Return the text of a private file; where there is none, create it with the text that `create` returns.

    Two processes that create it at once end up with the same text.
    """
    make_private_folder(path.parent)
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    while True:
        with suppress(FileNotFoundError):
            return _read_private(path)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(create())
                file.flush()
                os.fsync(descriptor)
            _publish_file(part, path)
        finally:
            part.unlink(missing_ok=True)


def _publish_file(part: Path, path: Path) -> None:
    try:
        # Unlike a rename, a link never replaces the file of another process.
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:
        # Some file systems have no hard links.
        part.replace(path)


def _read_private(path: Path) -> str:
    # Bytes that are no text are damage, which the caller finds as it finds any other wrong text.
    with path.open(encoding="utf-8", errors="replace") as file:
        found = os.fstat(file.fileno())
        if stat.S_IMODE(found.st_mode) & _OTHERS and found.st_uid == os.geteuid():
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode) & ~_OTHERS)
        return file.read().strip()
