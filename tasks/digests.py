"""Checksums of files, each file read once for as long as it stays as it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

KEPT = Path("var") / "digests.json"


def file_sum(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sums(paths: Sequence[Path], root: Path) -> list[str]:
    """SHA-256 of each file; one whose size and time of change are as they were is not read again.

    Kept under var/. As with DVC, content that changes within the file system's grain of time, at the same
    size, goes unseen.
    """
    kept = root / KEPT
    known = _read(kept)
    found: dict[str, list[object]] = {}
    for path in paths:
        state = path.stat()
        stamp: list[object] = [state.st_size, state.st_mtime_ns]
        before = known.get(str(path))
        found[str(path)] = before if before and before[:2] == stamp else [*stamp, file_sum(path)]
    if any(known.get(path) != entry for path, entry in found.items()):
        _write(kept, {**known, **found})
    return [str(found[str(path)][2]) for path in paths]


def _read(path: Path) -> dict[str, list[object]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {name: entry for name, entry in found.items() if len(entry) == 3} if isinstance(found, dict) else {}
    )


def _write(path: Path, entries: dict[str, list[object]]) -> None:
    # Two runs at once may each lose what the other kept: it is read again, no more.
    path.parent.mkdir(parents=True, exist_ok=True)
    still = {name: entry for name, entry in entries.items() if Path(name).exists()}
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(still, indent=0), encoding="utf-8")
    part.replace(path)
