"""Find columns of a few repeated values beside answers whose names no rule knows.

Any jargon may be a verdict: `Void: V` and `Finding: Major` reject their rows, and `Flock: A` does not. No
list has all such words. So a run stops once until the preset names the columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tasks.data.questions.seen_keys import OTHERS, Seen
from tasks.data.values.field_meanings import FALSE, TICKS, TRUE
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.descriptive_names import (
    names_description,
    names_event,
    names_nature,
    names_side,
    names_time,
)
from tasks.data.verdicts.ordinary_columns import names_quantity
from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES

_HIGHEST = 10  # the end of a scale; higher numbers are amounts
_REPEATED = 2  # times that a value occurs on average in a column of kinds
_FLAGS = TRUE | FALSE | TICKS
_DIGIT = re.compile(r"\d")
# In the spelling of `plain_word`.
_DATE = re.compile(r"\d{4}[_/.]\d{1,2}[_/.]\d{1,2}(?!\d)|\d{1,2}[_/.]\d{1,2}[_/.]\d{4}")


def find_unknown_columns(
    unread: Mapping[str, Seen], values: Mapping[str, Collection[str]], rows: int
) -> dict[str, Seen]:
    """Return the columns that may judge some of their rows, in a word that no rule knows.

    A column that says the same of every row tells none of them apart. One that names what its row is about,
    or has many different values, is no such column.

    Args:
        unread: The keys that nothing reads.
        values: The different values of each, as `short_values` spells them.
        rows: The number of rows.
    """
    return {
        path: seen
        for path, seen in unread.items()
        if path != OTHERS and _may_judge(path, set(values.get(path, ())) - {""}, seen.count, rows)
    }


def _may_judge(path: str, held: set[str], count: int, rows: int) -> bool:
    if held and all(map(_DATE.match, held)):
        # In some rows only, as the end of an embargo; every row may have the time at which it was written.
        return count < rows and not (names_time(path) or names_event(path))
    if not held or LONG in held or len(held) > MOST_VALUES:
        return False
    if (len(held) == 1 and count >= rows) or names_time(path) or names_side(path):
        return False
    if 2 * count > rows and len(held) * _REPEATED > count:
        return False
    if held <= _FLAGS:
        counts = all(map(_is_number, held)) and names_quantity(path.rpartition(".")[2])
        return not (counts or names_nature(path))
    if names_description(path):
        return False
    if all(map(_is_number, held)):
        return all(map(_is_on_scale, held))
    # Codes of things, as `batch_3`, differ in their numbers.
    return len(held) == 1 or not all(map(_DIGIT.search, held))


def _is_number(value: str) -> bool:
    return as_score(value.replace("_", " ")) is not None


def _is_on_scale(value: str) -> bool:
    number = as_score(value.replace("_", " "))
    return number is not None and number.is_integer() and abs(number) <= _HIGHEST
