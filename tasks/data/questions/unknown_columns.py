"""Find columns of a few repeated values beside answers whose names no rule knows.

Any jargon may be a verdict: `Void: V` and `Finding: Major` reject their rows, and `Flock: A` does not. No
list has all such words. So a run stops once until the preset names the columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tasks.data.questions.seen_keys import OTHERS, Seen
from tasks.data.questions.value_counts import ValueCounts
from tasks.data.values.field_meanings import FALSE, TICKS, TRUE
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.descriptive_names import (
    names_amount,
    names_author,
    names_description,
    names_event,
    names_nature,
    names_side,
    names_time,
)
from tasks.data.verdicts.verdict_names import names_text

_HIGHEST = 10  # the end of a scale; higher numbers are amounts
_REPEATED = 2  # times that a value occurs on average in a column of kinds
_CODES = 5  # different codes with numbers that may be degrees, as `Level 1`; more are things, as `F12`
_MARK = 4  # characters of a mark, which is one under any name if only some rows have it
_FLAGS = TRUE | FALSE | TICKS
_DIGIT = re.compile(r"\d")
# In the spelling of `plain_word`. Months may have names.
_DATE = re.compile(
    r"\d{4}[_/.]\d{1,2}[_/.]\d{1,2}(?!\d)|\d{1,2}[_/.]\d{1,2}[_/.](?:\d{4}|\d{2}(?!\d))|"
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?!\d)|\d{1,2}[_.]*[^\W\d_]{3,10}[_.,]*(?:19|20)?\d\d$|"
    r"[^\W\d_]{3,10}[_.]+\d{1,2},?_+(?:19|20)\d\d$|1\d{9}(?:\d{3})?(?:\.0)?$"
)


def find_unknown_columns(
    unread: Mapping[str, Seen],
    values: Mapping[str, Collection[str]],
    cells: Mapping[str, ValueCounts],
    rows: int,
    compared: bool,
    elsewhere: Mapping[str, Collection[str]],
) -> dict[str, Seen]:
    """Return the columns that may judge some of their rows, in a word that no rule knows.

    A column that says the same of every row of all sources tells none of them apart. One that names what its
    row is about, or has many different values, is no such column.

    Args:
        unread: The keys that nothing reads.
        values: Some different values of each, as `short_values` spells them.
        cells: The number of cells of each by value.
        rows: The number of rows.
        compared: Whether some rows compare two answers, of which a key may describe one.
        elsewhere: The values of the same keys in other sources.
    """
    found = {}
    for path, seen in unread.items():
        if path == OTHERS or path not in cells or (compared and names_side(path)):
            continue
        few = cells[path].few()
        if len(few) == 1 and seen.count >= rows:
            # An export of rejected rows alone says the same of each.
            few |= frozenset(elsewhere.get(path, ()))
        if _tells_dates(path, set(values[path]) - {""}, seen.count, rows) or (
            few and _may_judge(path, few, seen.count, rows)
        ):
            found[path] = seen
    return found


def _tells_dates(path: str, held: set[str], count: int, rows: int) -> bool:
    """Return whether a column has a date in some rows only, as the end of an embargo.

    Every row may have the time at which it was written.
    """
    if not held or count >= rows or names_time(path) or names_event(path) or names_amount(path):
        return False
    return all(map(_DATE.match, held))


def _may_judge(path: str, held: frozenset[str], count: int, rows: int) -> bool:
    if all(map(_DATE.match, held)) or (len(held) == 1 and count >= rows) or names_time(path):
        return False
    if 2 * count > rows and len(held) * _REPEATED > count:
        return False
    if held <= _FLAGS:
        counts = all(map(_is_number, held)) and names_amount(path)
        return not (counts or names_nature(path))
    # One mark in some rows is no description, whatever its name: each row has a type.
    if len(held) == 1 and not (names_text(path) or names_author(path)):
        value = min(held)
        if len(value) <= _MARK and "_" not in value and not _DIGIT.search(value):
            return True
    amounts = all(map(_DIGIT.search, held))
    if names_description(path) or (amounts and names_amount(path)):
        return False
    if all(map(_is_number, held)):
        return all(map(_is_on_scale, held))
    # Many codes are those of things, as `F12`; few of them, or codes in some rows only, may be degrees.
    return not amounts or len(held) <= _CODES or count < rows


def _is_number(value: str) -> bool:
    return as_score(value.replace("_", " ")) is not None


def _is_on_scale(value: str) -> bool:
    number = as_score(value.replace("_", " "))
    return number is not None and number.is_integer() and abs(number) <= _HIGHEST
