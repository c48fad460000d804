"""Say what is wrong with a row, for each rule that rows broke.

A rule's name says what holds, as Great Expectations' pages list it. Records keep this name; what people read
of a row that broke the rule says what is wrong with it.
"""

from __future__ import annotations

import re
from typing import Any

from tasks.data.records import STRINGS
from tasks.data.values.field_meanings import is_invisible
from tasks.validation.exact_dedup import CONTRADICTS, NEAR, REPEATS, TORN
from tasks.validation.expectations import ACROSS, COMMON, READABLE

_ALONE = {
    READABLE: "the row cannot be read",
    ACROSS[CONTRADICTS]: "one person gave different verdicts on the same answers",
    ACROSS[REPEATS]: "the content appeared before",
    ACROSS[TORN]: "the same content is in another group, which may be held out of training",
    ACROSS[NEAR]: "the content is nearly the same as another row's",
    "choice is known": "the choice is not a, b or tie",
    "each first judgement is a choice of somebody": "a first judgement is no choice or has no annotator",
    "scores are there": "there is no score",
    "each score has its annotator": "a score is no number or has no annotator",
    "id is unique": "the id appeared before",
}
# The end of a rule's name after its column, and what is wrong; longer ends of the same beginning come first.
_OF_COLUMN = (
    (re.compile(r"is there"), "is missing"),
    (re.compile(r"is a string"), "is not a text"),
    (re.compile(r"is printable"), "has characters that cannot be printed"),
    (re.compile(r"does not repeat the prompt"), "repeats the prompt"),
    (re.compile(r"was not removed"), "was removed where it came from"),
    (re.compile(r"is in no benchmark"), "shares words with a benchmark"),
    (re.compile(r"is free of personal data"), "has personal data"),
    (re.compile(r"is known"), "is unknown"),
    (re.compile(r"is in (.+)"), r"is not in \1"),
)
_LENGTH = "has a fit length"
_SCORE = re.compile(r"score not (below|above) (.+)")
_COLUMNS = frozenset((*COMMON, *(column for columns in STRINGS.values() for column in columns)))


def describe_failure(rule: str, value: Any = None) -> str:
    """Return what is wrong with a row that broke a rule; the name itself for a rule of the preset's own.

    Args:
        rule: The rule's name.
        value: The value that broke the rule, if it is known.
    """
    if rule in _ALONE:
        return _ALONE[rule]
    if found := _SCORE.fullmatch(rule):
        return f"a score is {found[1]} {found[2]}"
    column, _, end = rule.partition(" ")
    if column not in (*_COLUMNS, "references", "history"):
        return rule
    noun = f"answer {column}" if column in ("a", "b") else f"the {column}"
    if end == _LENGTH:
        return f"{noun} {_describe_length(value)}"
    for pattern, wrong in _OF_COLUMN:
        if found := pattern.fullmatch(end):
            plural = column == "references"
            return f"{noun} {found.expand(wrong if not plural else wrong.replace('has ', 'have '))}"
    return rule


def _describe_length(value: Any) -> str:
    if not isinstance(value, str):
        return "is empty, too short or too long"
    if is_invisible(value):
        return "is empty"
    unit = "character" if len(value) == 1 else "characters"
    return f"has {len(value):,} {unit}, which validate.limits does not allow"
