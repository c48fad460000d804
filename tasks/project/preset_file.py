"""A preset's file: it is replaced as a whole, and what killed commands left of that is removed."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from model.atomic_file import atomic_path

# How a preset of `chatmill init` begins, so that its partial files are told from a user's.
WRITTEN_BY_INIT = "# Written by `chatmill init`"
# A longer file is no preset's; a user may keep large files beside presets.
_MOST_BYTES = 1 << 20
_PART = re.compile(r"(.+)\.[0-9]+\.part")


def replace_preset(path: Path, text: str) -> None:
    """Replace a preset's text: after a crash or a full disk the file has the old text or the new one.

    Args:
        path: The preset; the mode of a file that exists stays.
        text: Its new text.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        # The system releases the lock if this process is killed: `remove_leftover_parts` goes by it.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(text.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
        if path.exists():
            part.chmod(path.stat().st_mode & 0o7777)


def remove_leftover_parts(folder: Path, is_own: Callable[[str, bytes], bool]) -> list[Path]:
    """Remove the partial files in a folder that killed calls of `replace_preset` left; return them.

    Args:
        folder: The folder of the presets; it need not exist.
        is_own: Whether a partial file is chatmill's, from the preset's name and the file's content.
    """
    removed = []
    for path in sorted(folder.glob("*.part")):
        found = _PART.fullmatch(path.name)
        if not found or path.is_symlink() or not path.is_file():
            continue
        # A file that cannot be read or removed stays.
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = file.read(_MOST_BYTES + 1)
            if len(content) <= _MOST_BYTES and is_own(found[1], content):
                path.unlink()
                removed.append(path)
    return removed


def begins_as_written_by_init(name: str, content: bytes) -> bool:
    """Return whether a partial file is that of a preset of `init`; a kill may have left it empty."""
    return name.endswith(".yaml") and content.startswith(WRITTEN_BY_INIT.encode()[: len(content)])
