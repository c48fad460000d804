"""Plain text: each file one document."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.formats import File, Reading
from tasks.records import Rows, text_row


def parse(files: Sequence[File], reading: Reading) -> Rows:
    """One Text a file that holds more than white space."""
    texts = (file.text().replace("\r\n", "\n").strip() for file in files)
    return Rows(text=[text_row(text, reading.source) for text in texts if text])
