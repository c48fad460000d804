"""Check a row's labels by several of its keys: its annotators, and the scores of both answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from model.errors import UserError
from tasks.data.parsing.base import ParseOptions
from tasks.data.values.annotators import ANNOTATORS, normalize_annotator
from tasks.data.values.field_meanings import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    flatten_name,
    is_empty,
    word_set,
)
from tasks.data.values.score_values import as_score

_MARGINS, _DIFFERENCES = word_set("advantage margin margins"), word_set("delta diff difference gap")
# A measure of a model, as a loss or a perplexity, is no rank: it may be worse for the better answer.
_RANKS = word_set("rang rank ranking rankings ranks")
_STRENGTHS = word_set("intensity strength")
_PROBABILITIES = word_set("likelihood p prob proba probability winrate")
# A name with one of these holds the logarithm of a probability, which a model computes for a whole text.
_LOGARITHMS = word_set("ln log logit logits")
_CHOICES = word_set("choice chosen preference preferred winner winning")
_OF_SIDES = word_set("a answer b better completion is model of output rate response that win wins")
_FILLERS = word_set("chosen human in minus of preference rejected the")
_OTHER = {"chosen": "rejected", "rejected": "chosen"}
_ROUNDED = 0.02  # by how much two probabilities may miss 1 in sum
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


def is_loose_margin(name: str) -> bool:
    """Return whether a name alone, as `delta` or `strength`, may mean by how much an answer is better."""
    words = set(flatten_name(name).split("_"))
    named = words & (_DIFFERENCES | _STRENGTHS) and words <= _DIFFERENCES | _STRENGTHS | _FILLERS
    return bool(named) or {"chosen", "minus", "rejected"} <= words


def chosen_side(name: str) -> str:
    """Return the side whose probability to be the better answer a name means, as `chosen` for `prob_chosen`.

    Args:
        name: The name. `win_prob_a` means the side `a`.

    Returns:
        chosen, rejected, a or b; empty for any other name.
    """
    words = set(flatten_name(name).split("_"))
    words |= {"winrate"} if {"win", "rate"} <= words else set()
    if not words & _PROBABILITIES or words & _LOGARITHMS:
        return ""
    if "rejected" in words:
        return "" if "chosen" in words else "rejected"
    if words & _CHOICES:
        return "chosen"
    sides = words & {"a", "b"}
    return sides.pop() if len(sides) == 1 and words <= _PROBABILITIES | _OF_SIDES else ""


def _check_probability(path: str, value: Any, values: Mapping[str, Any], where: str) -> bool | None:
    """Check that the probability of a choice prefers the chosen answer.

    Args:
        path: Its key.
        value: Its value.
        values: The values of all keys. Two probabilities that do not sum to 1 are of two texts, and are
            not compared.
        where: The row's place, for messages.

    Returns:
        True if neither answer is more probable; False if the chosen one is; None if it is no probability.

    Raises:
        UserError: The rejected answer is the more probable one.
    """
    side, number = chosen_side(path), as_score(value)
    if side not in ("chosen", "rejected") or number is None:
        return None
    share = number / 100 if isinstance(value, str) and value.strip().endswith("%") else number
    twin = re.sub("chosen|rejected", lambda said: _OTHER[said[0]], path)
    other = as_score(values.get(twin)) if twin != path else None
    whole = number / share if share else 1.0
    if not 0 <= share <= 1 or (other is not None and abs(number + other - whole) > _ROUNDED * whole):
        return None
    if (share < 0.5) is (side == "chosen") and share != 0.5:
        raise UserError(
            f"{where}: {path} is {number:g}, so the rejected answer is the better one by it; correct the "
            f"row, or ignore the probability in the source's fields, as in fields: {{{path}: ignore}}"
        )
    return share == 0.5


def check_side_scores(leaves: Iterable[tuple[str, Any]], reading: ParseOptions, where: str) -> bool:
    """Check that the chosen answer of a comparison has no worse score than the rejected one.

    Of two ranks the smaller one is the better score.

    Args:
        leaves: The paths and values of the row, such as `score_chosen` or `chosen[].score`.
        reading: The options of the parser; keys of its `fields` are skipped.
        where: The row's place, for messages.

    Returns:
        True if both have the same scores, so that neither is better.

    Raises:
        UserError: The scores, the ranks, a negative margin or a probability contradict the choice.
    """
    scores = {}
    equal = []
    given = [(path, value) for path, value in leaves if path not in reading.fields]
    values = dict(given)
    for path, value in given:
        words = set(flatten_name(path.replace(".", " ").replace("[]", "")).split("_"))
        # Names such as harmfulness_score have a word of both kinds, and lower is better.
        margin = as_score(value) if is_margin(path) else None
        if margin is not None and margin < 0:
            raise UserError(
                f"{where}: {path} is {margin:g}, so the rejected answer is the better one by it; correct the "
                f"row, or ignore the margin in the source's fields, as in fields: {{{path}: ignore}}"
            )
        if words & _RANKS or (words & HIGHER_IS_BETTER and not words & LOWER_IS_BETTER):
            scores[path] = as_score(value)
        even = _check_probability(path, value, values, where)
        if even is not None:
            equal.append(even)
    for path, score in scores.items():
        # Only keys that name the side can be compared, such as score_chosen and score_rejected.
        other = re.sub("chosen", "rejected", path)
        worse = scores.get(other)
        if other == path or score is None or worse is None:
            continue
        equal.append(score == worse)
        ranked = bool(_RANKS & set(flatten_name(path.replace(".", " ")).split("_")))
        if (score > worse) if ranked else (score < worse):
            what = "rank" if ranked else "score"
            raise UserError(
                f"{where}: {path} is {score:g} and {other} is {worse:g}, so the rejected answer has "
                f"the better {what}; correct the row, or ignore the {what} in the source's fields, as "
                f"in fields: {{{path}: ignore}}"
            )
    return bool(equal) and all(equal)
