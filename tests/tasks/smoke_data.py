"""Helper that reads the rows of the smoke preset."""

from __future__ import annotations

from pathlib import Path

from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.records import Record

SMOKE = Path(__file__).parents[1] / "fixtures" / "exports" / "smoke"


def smoke_rows() -> list[Record]:
    """Return all rows of the smoke data."""
    files = [SourceFile(path.name, path=path) for path in sorted(SMOKE.glob("*.jsonl"))]
    return [found.row for found in find_format("rows").parse(files, ParseOptions("film"))]
