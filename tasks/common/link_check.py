"""Detection of files that are out of reach: links whose target is missing."""

from __future__ import annotations

import os
from pathlib import Path

from model.errors import UserError, one_line_path


def is_present(path: Path, name: str) -> bool:
    """Return whether a file with records is there.

    A link to nothing must not count as missing: the records exist on a disk that is not mounted.

    Args:
        path: The file.
        name: Its name in the message.

    Raises:
        UserError: It is a link, and the target is missing or a circle of links.
    """
    if path.exists():
        return True
    if path.is_symlink():
        raise UserError(
            f"{one_line_path(name)} is a link to {one_line_path(os.readlink(path))}, which is missing or "
            "leads back to itself; mount its disk, or repair the link, and run again"
        )
    return False
