"""The code digests that a snapshot of the sources keeps.

A run that reuses every output then need not parse the sources. The snapshot's folder is named after the
digest of its files, so the code of a digest that stands there cannot differ.
"""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from pathlib import Path

from model.atomic_file import atomic_path
from tasks.project.paths import SOURCE_SNAPSHOTS

FOLDER = "code_digests"


def read_digest(root: Path, module: str, name: str) -> str | None:
    """Return the digest that the snapshot at `root` keeps for a function; None if it has no valid one.

    Args:
        root: The folder that the process imports from. A folder that is no snapshot keeps nothing.
        module: The function's module.
        name: The function's name.
    """
    if not _is_snapshot(root):
        return None
    try:
        digest, check = _digest_file(root, module, name).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return digest if check == _checksum(root, module, name, digest) else None


def write_digest(root: Path, module: str, name: str, digest: str) -> None:
    """Keep a function's digest in the snapshot at `root`; do nothing if `root` is no snapshot."""
    if not _is_snapshot(root):
        return
    path = _digest_file(root, module, name)
    # The next run computes a digest that cannot be written, for example on a full disk.
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        # Without fsync: the checksum tells of a file that a power failure left empty.
        with atomic_path(path) as part:
            part.write_text(f"{digest} {_checksum(root, module, name, digest)}\n", encoding="ascii")


def forget_digest(root: Path, module: str, name: str) -> Path:
    """Remove a kept digest that the sources contradict, and return the path of its file."""
    path = _digest_file(root, module, name)
    path.unlink(missing_ok=True)
    return path


def _is_snapshot(root: Path) -> bool:
    return root.parent.name == SOURCE_SNAPSHOTS.name


def _digest_file(root: Path, module: str, name: str) -> Path:
    # Another version of Python writes the same syntax tree in another way.
    return root / FOLDER / f"{module}.{name}.{sys.implementation.cache_tag}"


def _checksum(root: Path, module: str, name: str, digest: str) -> str:
    return hashlib.sha256(f"{root.name} {module}.{name} {digest}".encode()).hexdigest()
