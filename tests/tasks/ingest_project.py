"""Helpers for projects whose rows are ingested from `texts/*.jsonl`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from model.events import Event, Message
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.parallel import ParallelMap, serial_map
from tasks.ingest import ingest
from tasks.project.data_folder import STATE

OWN = Source("mine", "rows", files="texts/*.jsonl")


def write(root: Path, *lines: dict[str, Any], name: str = "a") -> None:
    """Write rows to `texts/NAME.jsonl`."""
    (root / "texts").mkdir(parents=True, exist_ok=True)
    (root / "texts" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def run(
    root: Path,
    parameters: DataParameters | None = None,
    said: list[str] | None = None,
    parallel_map: ParallelMap = serial_map,
) -> dict[str, Any]:
    """Run ingestion and return its metrics."""

    def on_event(event: Event) -> None:
        if said is not None and isinstance(event, Message):
            said.append(event.text)

    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    return ingest(
        parameters or DataParameters((OWN,)), out=out, on_event=on_event, root=root, parallel_map=parallel_map
    )


def first(root: Path) -> Path:
    """Return the first shard of text in data/."""
    return root / "data" / "text" / "00000.jsonl"


def everything(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder except chatmill's own records."""
    paths = [path for path in folder.rglob("*") if path.is_file() and STATE not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
