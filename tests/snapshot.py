"""The state of all paths below a folder, which any write changes."""

from __future__ import annotations

from pathlib import Path


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Return the content, mode, inode and times of every path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (root, *sorted(root.rglob("*"))):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (
            content, state.st_mode, state.st_ino, state.st_mtime_ns, state.st_ctime_ns,
        )  # fmt: skip
    return found
