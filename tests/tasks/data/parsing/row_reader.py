"""Helpers that read rows as a source does, with the counts of what was skipped."""

from __future__ import annotations

import json
from typing import Any

from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import choose_reading
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import ParsedRow


def read_file(file: SourceFile, format: str = "auto", **told: Any) -> tuple[list[ParsedRow], SkipCounts]:
    """Read a file in the detected or the named format."""
    tally = SkipCounts()
    known, reading = choose_reading([file], "mine", format, ParseOptions("mine", **told))
    return list(read_rows(find_format(known.name), [file], reading, tally)), tally


def read(*rows: Any, format: str = "auto", **told: Any) -> tuple[list[ParsedRow], SkipCounts]:
    """Read rows of JSON Lines in the detected or the named format."""
    file = SourceFile("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return read_file(file, format, **told)
