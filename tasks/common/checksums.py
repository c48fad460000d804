"""Checksums of files. A file is read again only after it has changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from model.atomic_file import replace_text
from tasks.project.dry_run import may_write
from tasks.project.paths import DIGESTS

# File systems take times from a coarse clock: a file may change twice within one tick and show one time.
SETTLED_NS = 2_000_000_000


def file_sum(path: Path, algorithm: str = "sha256") -> str:
    """Return the checksum of a file as hexadecimal digits.

    The file is read in pieces, so its size may exceed the memory.

    Args:
        path: The file.
        algorithm: A name that `hashlib.new` accepts.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def file_sums(
    paths: Sequence[Path], root: Path, algorithm: str = "sha256", cache: Path | None = None
) -> list[str]:
    """Return the checksum of each file; reuse the cached checksum of an unchanged file.

    A file counts as unchanged if its inode, size, mtime and ctime are the same. No program can set the ctime:
    a file with old times that was moved to this place is read. A file that changed less than two seconds ago
    is not cached.

    Args:
        paths: The files.
        root: The project's folder.
        algorithm: A name that `hashlib.new` accepts.
        cache: The file with cached checksums, relative to `root`. The default is a file in var/cache.

    Returns:
        Checksums as hexadecimal digits, in the order of `paths`.
    """
    kept = root / (cache or DIGESTS)
    known = _read_entries(kept)
    found: dict[str, list[object]] = {}
    for path in paths:
        # Absolute, because the next command may run in another working directory.
        name = f"{algorithm}:{os.path.abspath(path)}"
        before = known.get(name)
        stamp = _file_stamp(path)
        if before and before[:-1] == stamp:
            found[name] = before
            continue
        now = time.time_ns()
        value = file_sum(path, algorithm)
        settled = now - stamp[3] > SETTLED_NS
        # Stamped before it was read: what changed meanwhile is read again.
        found[name] = [*stamp, value] if settled else [value]
    fresh = {name: entry for name, entry in found.items() if len(entry) > 1}
    if may_write() and any(known.get(name) != entry for name, entry in fresh.items()):
        _write_entries(kept, {**known, **fresh})
    return [str(found[f"{algorithm}:{os.path.abspath(path)}"][-1]) for path in paths]


def sums_by_name(folder: Path, root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder by its path in it, in order of path.

    An unchanged file is not read again. A file in place of the folder has the name ".".

    Args:
        folder: The folder.
        root: The project's folder, which holds the cached checksums.
    """
    paths = folder_files(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return dict(zip(names, file_sums(paths, root), strict=True))


def folder_files(folder: Path) -> list[Path]:
    """Return the files in a folder in order of path; of a file, the file itself."""
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]


def unread_bytes(paths: Sequence[Path], root: Path, cache: Path, algorithm: str = "sha256") -> int:
    """Return the bytes that `file_sums` would read: those of files without a cached checksum."""
    known = _read_entries(root / cache)
    kept = [(path, known.get(f"{algorithm}:{os.path.abspath(path)}", [])) for path in paths]
    return sum(path.stat().st_size for path, entry in kept if entry[:-1] != _file_stamp(path))


def _file_stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _read_entries(path: Path) -> dict[str, list[object]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, list) and len(entry) == 5}


def _write_entries(path: Path, entries: dict[str, list[object]]) -> None:
    # Two runs at once may each lose the other's entries. Those files are read again, so no lock is needed.
    still = {name: entry for name, entry in entries.items() if Path(name.partition(":")[2]).exists()}
    # A read-only project and a full disk must not stop a run: without the file, checksums are computed each
    # time.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(still, indent=0))
