"""Plain text: each file one document, or one a paragraph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.formats import File, Format, Found, Reading, Sample
from tasks.records import text_row


def parse(files: Sequence[File], reading: Reading) -> Iterator[Found]:
    """One Text a file that holds more than white space."""
    for file in files:
        if text := file.text().replace("\r\n", "\n").strip():
            yield Found(text_row(text, reading.source), file.origin)


def _fits(sample: Sample) -> str:
    return "" if sample.name.endswith(".txt") else "not a .txt file"


FORMAT = Format("plain", parse, "file", _fits)
