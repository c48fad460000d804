"""Files of records, written and read as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.data.records import TYPES, Record, canonical_line, read_shards


def write_rows(path: Path, rows: Iterable[Record]) -> None:
    """Write a shard of canonical JSON Lines, sorted by id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for row in sorted(rows, key=lambda row: row.id):
            file.write(canonical_line(row) + "\n")


def read_rows(folder: Path, kind: str) -> list[Any]:
    """Return the records of one kind from all shards of a folder."""
    return [TYPES[kind](**row) for row in read_shards(folder)]
