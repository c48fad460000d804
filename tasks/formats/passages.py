"""Reading-comprehension data (BoolQ, QuAC, NarrativeQA, DisflQA): JSON Lines whose rows share passages."""

from __future__ import annotations

from collections.abc import Sequence

from model.errors import UserError
from tasks.formats import File, Reading
from tasks.records import Rows, parse_lines, text_row


def parse(files: Sequence[File], reading: Reading) -> Rows:
    """Each distinct `passage` once, as a Text."""
    seen: dict[str, None] = {}
    for file in files:
        for number, row in enumerate(parse_lines(file.content.splitlines(), file.origin), 1):
            if not isinstance(row.get("passage"), str):
                raise UserError(f"{file.origin}, row {number}: no passage; its keys are {', '.join(row)}")
            if passage := row["passage"].strip():
                seen.setdefault(passage)
    return Rows(text=[text_row(passage, reading.source) for passage in seen])
