"""Read a value by the meaning of its key, which the preset's `fields` or the key's name gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.data.values.field_meanings import (
    FALSE,
    KNOWN,
    REFUSALS,
    SIDES,
    TICKS,
    TRUE,
    Meaning,
    as_flag,
    as_review,
    as_verdict,
    flatten_name,
    is_empty,
    normalize_value,
    plain_word,
    says_nothing_wrong,
    split_words,
    states_removal,
)
from tasks.data.values.score_values import SECONDS, as_score, is_date


def maps_sides(meaning: Any) -> bool:
    """Return whether a meaning maps values to a, b or tie, as `{"1": a, "2": b}`."""
    return isinstance(meaning, Mapping) and not {"a", "b"}.isdisjoint(
        said for said in meaning.values() if isinstance(said, str)
    )


def read_meaning(name: str, meaning: Meaning | None, value: Any) -> tuple[str, Any] | None:
    """Return the meaning of a value as (what, value); None if its spelling is unknown.

    The pair is one of: `verdict` and a score; `review` and accept, reject or ignore; `choice` and a, b or
    tie; `learn` or `deleted` and true or false; `ignore` and None. Without a meaning in the preset, the key's
    name decides.

    Args:
        name: The key, or its last part.
        meaning: The meaning of the key in the preset's `fields`.
        value: The value, not empty.
    """
    # Labelling tools export every answer as a list, also a single one.
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    # The preset's own mapping has precedence over every usual spelling.
    if isinstance(meaning, Mapping):
        said = mapped_value(value, meaning)
        if said is None:
            return None
        if isinstance(said, str):
            return ("choice" if said in SIDES else "review", said)
        return "verdict", float(said)
    kind = meaning or KNOWN.get(flatten_name(name), "")
    if kind in ("ignore", "text"):
        return "ignore", None
    if kind in ("weight", "mask", "deleted"):
        flag = as_flag(value)
        # The text of an error or of a refusal is as good as a flag.
        if kind == "deleted" and flag is None and states_removal(name):
            refused = bool(set(flatten_name(name).split("_")) & REFUSALS)
            return "deleted", refused or not says_nothing_wrong(value)
        # The time at which a row was deleted says that it was.
        if kind == "deleted" and flag is None and (is_date(value) or (as_score(value) or 0) > SECONDS):
            return "deleted", True
        # A tick under `weight` is no flag, as empty cells beside it would be learned too.
        if flag is None and meaning in ("deleted", "mask") and str(value).strip().lower() in TICKS:
            flag = True
        if flag is None:
            return None
        return ("deleted", flag) if kind == "deleted" else ("learn", flag if kind == "weight" else not flag)
    if kind == "review":
        # A data set's final answer is also under `answer`, and may be 0 or no.
        if meaning is None and flatten_name(name) == "answer" and normalize_value(value) in TRUE | FALSE:
            return None
        said = as_review(value)
        # The preset says that it is a review, so good and bad, or 1.0 and 0.0 as in a table, are answers too.
        if said is None and meaning is not None:
            flag = as_flag(value)
            sign = as_verdict(value) if flag is None else 1.0 if flag else -1.0
            said = None if sign is None else "accept" if sign > 0 else "reject"
        return None if said is None else ("review", said)
    score = _score_meaning(kind, value)
    return None if score is None else ("verdict", score)


def mapped_value(value: Any, meaning: Mapping[str, Any]) -> Any:
    """Return what a mapping of `fields` gives a value; None if it does not list the value.

    The key `""` is about empty cells, and about rows without the key.
    """
    if is_empty(value):
        return meaning.get("")
    word = _own_spelling(value, meaning)
    return meaning[word] if word else None


def maps_empty(meaning: Any) -> bool:
    """Return whether a meaning says what an empty cell means."""
    return isinstance(meaning, Mapping) and "" in meaning


def _own_spelling(value: Any, meaning: Mapping[str, Any]) -> str:
    """Return the key of a mapping that matches a value. YAML and tables spell 1, 1.0 and true differently."""
    word = str(value).strip()
    if word in meaning:
        return word
    alike = {str(known).strip().lower(): known for known in meaning}
    if isinstance(value, float) and value.is_integer() and str(int(value)) in meaning:
        return str(int(value))
    plain = {plain_word(str(known)): known for known in meaning}
    # Questions spell `NotApproved` as `not_approved`.
    return (
        alike.get(word.lower(), "")
        or plain.get(plain_word(word), "")
        or plain.get(plain_word(split_words(word)), "")
    )


def _score_meaning(kind: str, value: Any) -> float | None:
    if kind in ("thumb", "thumb_down"):
        flag = as_flag(value)
        sign = as_verdict(value) if flag is None else 1.0 if flag else -1.0
        # `as_flag` knows only 0 and 1.
        sign = -1.0 if value == -1 else sign
        return -sign if sign is not None and kind == "thumb_down" else sign
    word = as_verdict(value)
    if kind in ("penalty", "penalty_vote"):
        flag = as_flag(value) if isinstance(value, str | bool) and as_score(value) is None else None
        number = as_score(value) if flag is None else 1.0 if flag else -1.0
        return None if number is None else 0.0 - number
    if kind == "word":
        # Whole numbers may be classes, of which only the preset can say which is better.
        return word
    if word is None and as_score(value) is None and kind in ("verdict", "vote"):
        # The preset says that it is a verdict, so y and n are flags too.
        flag = as_flag(value)
        return None if flag is None else 1.0 if flag else -1.0
    return as_score(value) if word is None or not isinstance(value, str | bool) else word
