"""Parse passages of reading-comprehension data (BoolQ, QuAC, NarrativeQA, DisflQA), shared by rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.skip_counts import SkipCounts
from tasks.data.records import ParsedRow, text_row


def stream_rows(files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts) -> Iterator[ParsedRow]:
    """Yield each `passage` that differs from the one before as a Text."""
    before = ""
    for file in files:
        for values, where in file.items():
            if not isinstance(values.get("passage"), str):
                raise UserError(f"{where}: no passage; its keys are {', '.join(values)}")
            passage = values["passage"].strip()
            if passage and passage != before:
                yield ParsedRow(text_row(passage, reading.source), where)
            # Rows about one passage are neighbours, so one text is enough to remember.
            before = passage


def _detect_mismatch(sample: FileSample) -> str:
    return "" if all("passage" in item.values for item in sample.items) and sample.items else "no key passage"


FORMAT = Format("passages", stream_rows, "line", _detect_mismatch)
