"""Parse passages of reading-comprehension data (BoolQ, QuAC, NarrativeQA, DisflQA), shared by rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.unread_keys import count_extra_key
from tasks.data.questions.companion_keys import ANSWERS, OPTION_LISTS
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import ParsedRow, text_row
from tasks.data.values.column_names import plain_name

SAME = "rows about the passage of the row before"
EMPTY = "rows without a passage"
# Keys of questions with answers, which would be lost.
_LOST = ANSWERS | {"label", *OPTION_LISTS}


def stream_rows(files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts) -> Iterator[ParsedRow]:
    """Yield each `passage` that differs from the one before as a Text, and count the other keys."""
    before = ""
    for file in files:
        for values, where in file.items():
            if not isinstance(values.get("passage"), str):
                raise UserError(f"{where}: no passage; its keys are {', '.join(values)}")
            for key, value in values.items():
                if key != "passage":
                    count_extra_key(key, value, reading, where, tally)
            passage = values["passage"].strip()
            if not passage:
                tally.left_out[EMPTY] += 1
            elif passage == before:
                tally.left_out[SAME] += 1
            else:
                yield ParsedRow(text_row(passage, reading.source), where)
            # Rows about one passage are neighbours, so one text is enough to remember.
            before = passage


def _detect_mismatch(sample: FileSample) -> str:
    if not sample.items or not all("passage" in item.values for item in sample.items):
        return "no key passage"
    answers = {key for item in sample.items for key in item.values if plain_name(key) in _LOST}
    return f"the key {min(answers)} is an answer" if answers else ""


FORMAT = Format("passages", stream_rows, "line", _detect_mismatch)
