"""Parse answers that are good or bad: {"prompt", "completion", "label"}, with the label true or false.

A good answer becomes a Rating of +1, a bad one a Rating of -1. The aspect is that of the row or of its
source. Prompt and completion are texts or lists of messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import UserError
from tasks.common.value_kinds import kind_of
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import (
    MEDIA,
    SYSTEM,
    conversation_group,
    history_turns,
    read_exchange,
    read_history,
    require_value,
)
from tasks.data.parsing.preference_fields import row_annotator, row_aspect, row_time
from tasks.data.parsing.row_stream import LABEL_KEYS, keys, row_stream
from tasks.data.records import ParsedRow, rating_row
from tasks.data.values.annotators import UNKNOWN_ANNOTATOR
from tasks.data.values.field_meanings import as_flag, as_verdict, is_empty

UNRATED = "pairs that nobody rated, as label has no verdict"
_KEYS = keys(
    "prompt", "completion", "label", "input", "context", "history", "tools", "functions", *SYSTEM, *MEDIA,
    *LABEL_KEYS,
)  # fmt: skip


def read_row(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    """Yield a Rating for the row. Raise UserError with file and line, also for a label of another kind.

    An empty completion is kept, so that validation quarantines it with its line. A row with an empty label is
    not rated, so it gives nothing.
    """
    prompt, completion, label = (
        require_value(values, reading.column(key), where) for key in ("prompt", "completion", "label")
    )
    if is_empty(label):
        return
    flag = as_flag(label)
    score = as_verdict(label) if flag is None else 1.0 if flag else -1.0
    if score is None and label not in (1, -1):
        what = repr(label) if isinstance(label, str | int | float) else kind_of(label)
        raise UserError(f"{where}: label is {what:.40}; expected true or false")
    score = float(label) if score is None else score
    before = read_history(reading.optional(values, "history"), where)
    turns, (answer,) = read_exchange(prompt, {"completion": completion}, values, reading, where, before)
    *earlier, last = turns
    who, when = row_annotator(values, reading), row_time(values, reading)
    row = rating_row(
        last.content, answer if answer.strip() else "", [score], [who], row_aspect(values, reading),
        reading.source, conversation_group(turns, values, reading), history_turns(earlier),
        [when] if when else [],
    )  # fmt: skip
    yield ParsedRow(row, where, anonymous=who == UNKNOWN_ANNOTATOR)


def fits_unpaired(sample: FileSample) -> str:
    """Return why a sample is not of this format; empty if it may be."""
    if not sample.items or not all(
        {"prompt", "completion", "label"} <= item.values.keys() for item in sample.items
    ):
        return "no keys prompt, completion and label"
    # Numbers may be classes, so they are labels only if the source names the format.
    labels = [item.values["label"] for item in sample.items]
    told = not all(map(is_empty, labels)) and all(
        as_verdict(label) is not None or is_empty(label) for label in labels
    )
    return "" if told else "label is not true or false"


FORMAT = Format("unpaired", row_stream(read_row, _KEYS, "ratings", UNRATED), "line", fits_unpaired, "ratings")
