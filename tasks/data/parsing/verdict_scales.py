"""Name the scale of a verdict, and find two scales that cannot be mixed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tasks.data.parsing.field_meanings import as_flag, as_verdict, flatten_name
from tasks.data.parsing.score_values import SCALE, SHORT, as_score

WORDS, NUMBERS, _FEW, ONES, PICTURES = "words", "plain numbers", "plain numbers to 5", "1 and -1", "stars"
ZERO_THUMBS, MINUS_THUMBS = "0 and 1", "-1 and 1"
GRADES = "grades from A to F"
PENALTIES, PERCENT = "penalties, of which fewer are better", "%"
# A cell of `3,2` beside `3,2,4` may hold two numbers or one.
COMMA_LIST, COMMA_DECIMAL = "several numbers with commas between", "numbers with a decimal comma"


# The highest plain number that is a rating under a name, and years of schools above a scale of ten.
_HIGHEST = {"stars": 10, "star_rating": 10, "grade": 100}
_SCHOOL_YEARS = (11, 12, 13)


def scale_of(value: Any, kind: str) -> str:
    """Return the scale of a verdict: `of 5` for "4/5", `%` for "80%", or one of the names above.

    Args:
        value: The verdict.
        kind: The kind of its key, as in KNOWN. Among thumbs and labels, -1 and 0 are on different scales: if
            both occur, 0 may mean no thumb at all.

    Returns:
        The scale; empty for a value that is no verdict.
    """
    if kind in ("penalty", "penalty_vote"):
        # Numbers against an answer may be ranks. A flag against it is a word.
        flag = isinstance(value, str | bool) and as_flag(value) is not None and as_score(value) is None
        return WORDS if flag or isinstance(value, bool) else PENALTIES
    if kind in ("thumb", "thumb_down", "word") and not isinstance(value, bool):
        number = as_score(value)
        if number in (0, -1):
            return ZERO_THUMBS if number == 0 else MINUS_THUMBS
        return WORDS
    number = as_score(value)
    if isinstance(value, bool | str) and number is None and as_verdict(value) is not None:
        return WORDS
    found = SCALE.fullmatch(value.strip()) if isinstance(value, str) and len(value) < SHORT else None
    if found:
        return f"of {found[1]}" if found[1] else PERCENT
    if number is None:
        return ""
    if isinstance(value, str) and not any(c.isdigit() for c in value):
        return PICTURES
    return ONES if number in (1, -1) else _FEW if 0 <= number <= 5 else NUMBERS


def exceeds_scale(name: str, value: Any) -> bool:
    """Return whether a plain number under `stars` or `grade` is above every usual scale.

    It may be the stars of a repository, or a school year.
    """
    flat = flatten_name(name)
    number = as_score(value) if flat in _HIGHEST else None
    if number is None or (isinstance(value, str) and SCALE.fullmatch(value.strip())):
        return False
    return number > _HIGHEST[flat] or (flat == "grade" and number in _SCHOOL_YEARS)


def find_two_scales(scales: Collection[str]) -> tuple[str, ...]:
    """Return two scales that cannot be mixed; empty if all may be one.

    Words and thumbs stand for 1 and -1. Stars are numbers up to 5.
    """
    if {ZERO_THUMBS, MINUS_THUMBS} <= set(scales):
        return ZERO_THUMBS, MINUS_THUMBS
    if {COMMA_LIST, COMMA_DECIMAL} <= set(scales):
        return COMMA_LIST, COMMA_DECIMAL
    scales = [scale for scale in scales if scale not in (COMMA_LIST, COMMA_DECIMAL)]
    signs = [scale for scale in scales if scale in (WORDS, ZERO_THUMBS, MINUS_THUMBS)]
    others = [scale for scale in scales if scale not in (*signs, ONES)]
    numbers = [scale for scale in others if scale in (_FEW, NUMBERS)]
    if PICTURES in others and NUMBERS in others:
        return PICTURES, NUMBERS
    if PICTURES in others:
        numbers.append(PICTURES)
    named = [scale for scale in others if scale not in numbers]
    # A bare 1 or -1 may be a word or a plain number. Beside another scale it is a scale of its own.
    alone = [ONES] if ONES in scales and not signs and not numbers else []
    kinds = [*signs[:1], *numbers[:1], *named, *alone]
    return (kinds[0], kinds[1]) if len(kinds) > 1 else ()
