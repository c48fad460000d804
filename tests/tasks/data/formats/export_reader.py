"""Helpers that read exports as a source does, and return rows as plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.records import Comparison, Pair, ParsedRow, Rating

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"


def sample(name: str) -> SourceFile:
    return SourceFile(name, path=EXPORTS / name)


def lines(*rows: Any) -> SourceFile:
    return SourceFile("given.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


def read(name: str, *files: SourceFile, **told: Any) -> list[ParsedRow]:
    return list(find_format(name).parse(files, ParseOptions(source="mine", **told)))


def rows(name: str, *files: SourceFile, **told: Any) -> list[Any]:
    return [found.row for found in read(name, *files, **told)]


def comparisons(found: list[Any]) -> list[tuple[str, ...]]:
    return [
        (row.a, row.b, row.choice, row.aspect, row.annotator) for row in found if isinstance(row, Comparison)
    ]


def ratings(found: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (row.completion, row.scores, row.annotators, row.aspect) for row in found if isinstance(row, Rating)
    ]


def pairs(found: list[Any]) -> list[tuple[str, str]]:
    return [(row.prompt, row.completion) for row in found if isinstance(row, Pair)]
