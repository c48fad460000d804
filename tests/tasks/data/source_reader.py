"""Read a source as ingestion does."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tasks.data.sources.package_archive import Archive
from tasks.data.sources.source_reading import read_source
from tasks.data.sources.source_types import DataParameters, Source


def read(source: Source, root: Path, said: list[str] | None = None, **packed: Archive) -> list[bytes]:
    files = read_source(
        source, DataParameters((source,), packed), root,
        lambda event: said.append(event.text) if said is not None else None,
    )  # fmt: skip
    return [file.stream().read() for file in files]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
