"""Folders and files that only their owner may read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from tasks.project.dry_run import may_write

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_OTHERS = 0o077


def make_private_folder(path: Path) -> bool:
    """Create a folder, with its parents, that only its owner may enter.

    Returns:
        Whether the folder existed with wider permissions; they are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # The umask only removes bits from mkdir's mode, so the folder is never wider, not even for a moment.
        path.mkdir(mode=PRIVATE_FOLDER)
        return False
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _OTHERS or path.stat().st_uid != os.geteuid():
        return False
    path.chmod(mode & ~_OTHERS)
    return True


def read_or_create(path: Path, create: Callable[[], str]) -> str:
    """Return the text of a private file; create the file with the text from `create` if it is missing.

    Two processes that create it at once end up with the same text.
    """
    make_private_folder(path.parent)
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    while True:
        with suppress(FileNotFoundError):
            # Read after each attempt: the file may be that of another process, which was faster.
            found = _read_private(path)
            if may_write():
                _remove_parts(path)
            return found
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
        # Unlike a rename, a hard link never replaces the file of another process.
        os.link(part, path)
    # Another process was faster, and may have removed this part.
    except (FileExistsError, FileNotFoundError):
        return
    except OSError:
        # Some file systems have no hard links.
        part.replace(path)


def _remove_parts(path: Path) -> None:
    """Remove the parts of a file that is there: killed processes left them, and they may hold a secret."""
    named = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}")
    for part in path.parent.glob(f".{path.name}.*"):
        if named.fullmatch(part.name):
            # A folder of another user stays as it is.
            with suppress(OSError):
                part.unlink()


def _read_private(path: Path) -> str:
    # Bytes that are not UTF-8 are damage. The caller detects it as it detects any other wrong text.
    with path.open(encoding="utf-8", errors="replace") as file:
        found = os.fstat(file.fileno())
        if stat.S_IMODE(found.st_mode) & _OTHERS and found.st_uid == os.geteuid():
            os.fchmod(file.fileno(), stat.S_IMODE(found.st_mode) & ~_OTHERS)
        return file.read().strip()
