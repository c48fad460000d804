"""Check a row's labels by several of its keys: its annotators, and the scores of both answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from model.errors import UserError
from tasks.data.parsing.annotators import normalize_annotator
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.field_meanings import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    flatten_name,
    is_empty,
    word_set,
)
from tasks.data.parsing.preference_fields import ANNOTATORS
from tasks.data.parsing.score_values import as_score

_MARGINS, _DIFFERENCES = word_set("advantage margin margins"), word_set("delta diff difference gap")
_SHORTENED = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d{2,}")
_EXACT = 2.0**53  # from here on a float cannot hold every whole number


def check_annotators(values: Mapping[str, Any], reading: ParseOptions, where: str) -> None:
    """Check that a value in the place of an annotator names a person.

    Raises:
        UserError: It is true, a list of several people, or an object without a name.
    """
    for key in dict.fromkeys((reading.column("annotator"), *ANNOTATORS)):
        value = values.get(key)
        if not is_empty(value) and not normalize_annotator(value):
            raise UserError(f"{where}: {key} is {value!r:.40}; expected the name or number of one person")
        _check_whole_number(key, value, where)
    key = reading.column("annotators")
    names = values.get(key)
    for name in names if isinstance(names, list) else []:
        if not is_empty(name) and not normalize_annotator(name):
            raise UserError(f"{where}: {key} holds {name!r:.40}; expected the name or number of one person")
        _check_whole_number(key, name, where)


def _check_whole_number(key: str, value: Any, where: str) -> None:
    """Raise UserError for a person's number that lost its last digits, so that several people share it."""
    shortened = isinstance(value, str) and _SHORTENED.fullmatch(value.strip())
    if shortened or (isinstance(value, float) and abs(value) >= _EXACT):
        raise UserError(
            f"{where}: {key} is {value!r:.40}, a number without its last digits, as spreadsheets and floats "
            "keep it, so it may be several people; export the column as text"
        )


def is_margin(name: str) -> bool:
    """Return whether a name means by how much one of two answers is better, as `margin` or `score_diff`."""
    words = set(flatten_name(name).split("_"))
    if words & LOWER_IS_BETTER:
        return False
    return bool(words & _MARGINS) or bool(words & _DIFFERENCES and words & HIGHER_IS_BETTER)


def check_side_scores(leaves: Iterable[tuple[str, Any]], reading: ParseOptions, where: str) -> bool:
    """Check that the chosen answer of a comparison has no lower score than the rejected one.

    Args:
        leaves: The paths and values of the row, such as `score_chosen` or `chosen[].score`.
        reading: The options of the parser; keys of its `fields` are skipped.
        where: The row's place, for messages.

    Returns:
        True if both have the same scores, so that neither is better.

    Raises:
        UserError: The scores or a negative margin contradict the choice.
    """
    scores = {}
    equal = []
    for path, value in leaves:
        words = set(flatten_name(path.replace(".", " ").replace("[]", "")).split("_"))
        # Names such as harmfulness_score have a word of both kinds, and lower is better.
        margin = as_score(value) if path not in reading.fields and is_margin(path) else None
        if margin is not None and margin < 0:
            raise UserError(
                f"{where}: {path} is {margin:g}, so the rejected answer is the better one by it; correct the "
                f"row, or ignore the margin in the source's fields, as in fields: {{{path}: ignore}}"
            )
        if words & HIGHER_IS_BETTER and not words & LOWER_IS_BETTER and path not in reading.fields:
            scores[path] = as_score(value)
    for path, score in scores.items():
        # Only keys that name the side can be compared, such as score_chosen and score_rejected.
        other = re.sub("chosen", "rejected", path)
        worse = scores.get(other)
        if other == path or score is None or worse is None:
            continue
        equal.append(score == worse)
        if score < worse:
            raise UserError(
                f"{where}: {path} is {score:g} and {other} is {worse:g}, so the rejected answer has "
                "the better score; correct the row, or ignore the score in the source's fields, as "
                f"in fields: {{{path}: ignore}}"
            )
    return bool(equal) and all(equal)
