"""Read what preference formats share: the annotator, the time and the aspect of a label, and its side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.conversations import SourceTurn, conversation_group, history_turns
from tasks.data.records import Choice, ParsedRow, comparison_row, text_digest
from tasks.data.values.annotators import ANNOTATORS, UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.values.field_meanings import is_empty
from tasks.data.values.label_times import iso_time
from tasks.data.values.several_scores import split_values

# The time of a change comes before that of the first label, as the label is that of the change.
TIMES = ("time", "updated_at", "timestamp", "_timestamp", "created_at", "annotated_at")


def preference_row(
    before: Sequence[SourceTurn],
    chosen: str,
    rejected: str,
    values: Mapping[str, Any],
    reading: ParseOptions,
    where: str,
) -> ParsedRow:
    """Return the Comparison of two answers to the last turn of `before`, which is the user's.

    A digest decides which of the two is `a`. So no side is better, and opposite choices of two people have
    the same sides. Two equal answers are a tie. An answer of white space becomes empty, and validation
    quarantines it.
    """
    *earlier, prompt = before
    chosen, rejected = (text if text.strip() else "" for text in (chosen, rejected))
    # Sorted first, so that the digest does not depend on which answer was preferred.
    low, high = sorted((chosen, rejected))
    a, b = (low, high) if int(text_digest(prompt.content, low, high), 16) % 2 else (high, low)
    choice: Choice = "tie" if a == b else "a" if a == chosen else "b"
    who = row_annotator(values, reading)
    row = comparison_row(
        prompt.content, a, b, choice, row_aspect(values, reading), who, reading.source,
        conversation_group(before, values, reading), history_turns(earlier), row_time(values, reading),
    )  # fmt: skip
    return ParsedRow(row, where, anonymous=who == UNKNOWN_ANNOTATOR)


def row_aspect(values: Mapping[str, Any], reading: ParseOptions) -> str:
    """Return the aspect that a row names, or else that of its source."""
    named = values.get(reading.column("aspect"))
    return named if isinstance(named, str) and named else reading.aspect


def row_annotator(values: Mapping[str, Any], reading: ParseOptions) -> str:
    """Return a label's annotator, the first of ANNOTATORS in the row, or else "unknown"."""
    names = (reading.column("annotator"), *ANNOTATORS)
    return next(filter(None, (normalize_annotator(values.get(name)) for name in names)), UNKNOWN_ANNOTATOR)


def row_time(values: Mapping[str, Any], reading: ParseOptions) -> str:
    """Return a label's time as ISO 8601, the first of TIMES in the row; else empty.

    A notation with two readings, as 1/2/2026, is no time. It costs only the order of a person's labels, and
    `unread_times` finds it.
    """
    found = (iso_time(values.get(name)) for name in (reading.column("time"), *TIMES))
    return next(filter(None, found), "")


def unread_times(
    values: Mapping[str, Any], own: Collection[str], reading: ParseOptions
) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a label that are read as times and are none.

    Args:
        values: The row.
        own: The keys of the row that are read.
        reading: The options of the parser.
    """
    names = dict.fromkeys(name for name in (reading.column("time"), *TIMES) if name in own)
    if not any(iso_time(values.get(name)) for name in names):
        for name in names:
            if not is_empty(value := values.get(name)):
                yield name, value
    if (name := reading.column("times")) in own:
        for value in split_values(values.get(name)) or ():
            if not is_empty(value) and not iso_time(value):
                yield name, value
