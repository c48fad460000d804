"""Files that are written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: Path, part: Path | None = None) -> Iterator[Path]:
    """Yield a path to write to; at the end it replaces the file in one rename.

    After an error, such as a full disk, the partial file is removed and the old file is unchanged.

    Args:
        path: The file.
        part: The path to write to, on the same disk; None: beside the file, with this process's id.
    """
    part = part or path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
