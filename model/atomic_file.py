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


def fixed_part(path: Path) -> Path:
    """Return `NAME.part` beside a file that only one process writes at a time.

    The next write replaces the partial file that a killed process left.
    """
    return path.with_name(f"{path.name}.part")


def replace_text(path: Path, text: str, part: Path | None = None) -> None:
    """Replace a file's text: after a crash or a full disk the file has the old text or the new one.

    Args:
        path: The file.
        text: Its new text.
        part: As for `atomic_path`.
    """
    with atomic_path(path, part) as written, written.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        # Without fsync, a power failure after the rename may leave an empty file on some file systems.
        os.fsync(file.fileno())
