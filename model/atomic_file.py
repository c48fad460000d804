"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: Path, part: Path | None = None) -> Iterator[Path]:
    """Yield a path beside a file to write to; at the end it takes the file's place.

    After an error, as on a full disk, what was written is removed and the file is what it was.

    Args:
        path: the file.
        part: the path to write to, on the same disk; None: beside the file, with this process's number.
    """
    part = part or path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
