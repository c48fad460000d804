"""Read the choice of a row with two answers, and find the rows without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.choices import is_undecided, plain_choice
from tasks.data.parsing.field_meanings import SIDES, is_empty, own_spelling
from tasks.data.parsing.row_verdicts import side_votes
from tasks.data.parsing.skip_counts import SkipCounts

UNDECIDED = "comparisons without a decision, such as skip or unsure"


def read_choice(
    values: dict[str, Any], own: frozenset[str], reading: ParseOptions, where: str, tally: SkipCounts
) -> tuple[dict[str, Any], str]:
    """Return a row with its choice as a, b or tie, and the reason if it is left out for want of one.

    A mapping in the source's `fields` has precedence. A number or a word that names no side stays in the row,
    and is asked about when all rows are counted.
    """
    for vote in side_votes(values, reading).values():
        if isinstance(vote, str) and is_undecided(vote):
            tally.left_out[UNDECIDED] += 1
    key = reading.column("choice")
    if not {key, reading.column("a"), reading.column("b")} <= own & values.keys():
        return values, ""
    value, meaning = values[key], reading.fields.get(key)
    if is_empty(value):
        return values, f"comparisons that nobody judged, as {key} is empty"
    if not isinstance(value, str | int | float):
        return values, ""
    if isinstance(meaning, Mapping):
        tally.used.add(key)
        said = meaning.get(own_spelling(value, meaning))
        if said in (*SIDES, "ignore"):
            return {**values, key: said}, UNDECIDED if said == "ignore" else ""
    choice = plain_choice(value, reading.columns)
    if choice in SIDES:
        tally.note_choice_number(key, value)
        return {**values, key: choice}, ""
    if isinstance(value, str) and is_undecided(value):
        return values, UNDECIDED
    tally.note_choice(key, value, where)
    return values, ""
