"""Name the scale of a verdict, and find two scales that cannot be mixed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tasks.data.values.field_meanings import as_flag, as_verdict, flatten_name
from tasks.data.values.score_values import SCALE, SHORT, as_score

WORDS, NUMBERS, ONES, PICTURES = "words", "plain numbers", "1 and -1", "stars"
_TWO, _FEW, _TEN = "plain numbers to 2", "plain numbers to 5", "plain numbers to 10"
_MINUS_ONE, _MINUS = "-1", "negative numbers"
_PLAIN = frozenset((_TWO, _FEW, _TEN, _MINUS, NUMBERS))
ZERO_THUMBS, MINUS_THUMBS = "0 and 1", "-1 and 1"
GRADES = "grades from A to F"
PENALTIES, PERCENT = "penalties, of which fewer are better", "%"
# A cell of `3,2` beside `3,2,4` may hold two numbers or one.
COMMA_LIST, COMMA_DECIMAL = "several numbers with commas between", "numbers with a decimal comma"


# Numbers by which survey programs write that a question was not answered.
_CODES = frozenset((77, 88, 97, 98, 99, 777, 888, 997, 998, 999, 7777, 8888, 9999, 99999))
_MINUS_CODES = frozenset((-7, -8, -9, *(-code for code in _CODES)))
NO_ANSWER = ", which often stands for no answer"


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
    return _number_scale(number)


def _number_scale(number: float) -> str:
    if number in _CODES | _MINUS_CODES:
        return f"{number:g}{NO_ANSWER}"
    if number < 0:
        return _MINUS_ONE if number == -1 else _MINUS
    if number == 1:
        return ONES
    return next((name for most, name in ((3, _TWO), (6, _FEW), (11, _TEN)) if number < most), NUMBERS)


def rises(scale: str) -> bool:
    """Return whether a scale has numbers above 1, of which higher ones are read as better."""
    return scale in (_TWO, _FEW, _TEN, NUMBERS)


def means_no_answer(two: Collection[str]) -> bool:
    """Return whether one of two scales of `find_two_scales` is a number that may stand for no answer."""
    return any(scale.endswith(NO_ANSWER) for scale in two) or (
        _MINUS_ONE in two and not {_FEW, _TEN}.isdisjoint(two)
    )


def _find_codes(scales: Collection[str]) -> tuple[str, ...]:
    """Return the scale of most numbers and a number far from it that means no answer; empty if there is none.

    -99 beside 1 to 5 is one, and so are 99 and -1. Numbers between them show that the scale is longer.
    """
    small = next((name for name in (_TEN, _FEW) if name in scales), "")
    low = small or next((name for name in (_TWO, ONES) if name in scales), "")
    for name in sorted(scales):
        if name.endswith(NO_ANSWER) and low:
            missing = _MINUS if name.startswith("-") else NUMBERS
            if missing not in scales:
                return low, name
    return (small, _MINUS_ONE) if small and _MINUS_ONE in scales and _MINUS not in scales else ()


def exceeds_scale(name: str, value: Any) -> bool:
    """Return whether a plain number under `stars` or `grade` is on no usual scale.

    It may be the stars of a repository, a school year, or 0 stars where nobody gave any.
    """
    flat = flatten_name(name)
    number = as_score(value) if flat in _HIGHEST else None
    if number is None or (isinstance(value, str) and SCALE.fullmatch(value.strip())):
        return False
    # A scale of stars begins at one. Stores and surveys write 0 where nobody gave stars.
    unrated = flat != "grade" and number == 0 and str(value).strip()[-1:].isdigit()
    return unrated or number > _HIGHEST[flat] or (flat == "grade" and number in _SCHOOL_YEARS)


def find_two_scales(scales: Collection[str]) -> tuple[str, ...]:
    """Return two scales that cannot be mixed; empty if all may be one.

    Words and thumbs stand for 1 and -1. Stars are numbers up to 5.
    """
    if {ZERO_THUMBS, MINUS_THUMBS} <= set(scales):
        return ZERO_THUMBS, MINUS_THUMBS
    if {COMMA_LIST, COMMA_DECIMAL} <= set(scales):
        return COMMA_LIST, COMMA_DECIMAL
    if codes := _find_codes(scales):
        return codes
    scales = [scale for scale in scales if scale not in (COMMA_LIST, COMMA_DECIMAL)]
    signs = [scale for scale in scales if scale in (WORDS, ZERO_THUMBS, MINUS_THUMBS)]
    ones = [scale for scale in scales if scale in (ONES, _MINUS_ONE)]
    others = [scale for scale in scales if scale not in (*signs, *ones)]
    numbers = [scale for scale in others if scale in _PLAIN or scale.endswith(NO_ANSWER)]
    if PICTURES in others and (above := [scale for scale in numbers if scale not in (_TWO, _FEW)]):
        return PICTURES, above[0]
    if PICTURES in others:
        numbers.append(PICTURES)
    named = [scale for scale in others if scale not in numbers]
    # A bare 1 or -1 may be a word or a plain number. Beside another scale it is a scale of its own.
    alone = ones[:1] if not signs and not numbers else []
    kinds = [*signs[:1], *numbers[:1], *named, *alone]
    return (kinds[0], kinds[1]) if len(kinds) > 1 else ()
