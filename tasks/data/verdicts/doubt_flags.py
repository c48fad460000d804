"""Recognize flags that turn a choice round, doubt its person, or forbid its row, as `invert` and `noai`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from tasks.data.values.column_names import yaml_value
from tasks.data.values.field_meanings import (
    FALSE,
    TICKS,
    TIME_WORDS,
    TRUE,
    as_flag,
    flatten_name,
    plain_word,
    word_set,
)
from tasks.data.values.score_values import as_score

_ENDINGS = ("", "al", "e", "ed", "er", "ers", "es", "ing", "ion", "ive", "ness", "s", "ster", "ulent")


def _by_stems(stems: str) -> frozenset[str]:
    return frozenset(stem + ending for stem in stems.split() for ending in _ENDINGS)


# A person who did not judge, or who lied.
_PERSONS = _by_stems("cheat fraud spamm inattent careless straightlin dishonest troll") | word_set(
    "bogus forged forgery gibberish speeder speeders"
)
# What was done to the order of two answers, or to their label.
_TURNS = _by_stems("invert revers swap swapp switch shuffl flip flipp transpos")
_TURNED = word_set(
    """
    a ab answer answers b ba be been choice choices display flag is label labels must needs order position
    positions preference presentation score scores should side sides the to was
    """
)
# What a site tells to those who gather texts for training.
_CLOSED = word_set("donottrain donotuse dontuse noai nocrawl noimageai noindex nollm noml notrain notraining")
_CLOSED_PAIRS = tuple(
    frozenset(pair.split("_"))
    for pair in [
        "tdm_reservation",
        "tdm_reserved",
        "no_ai",
        "no_ml",
        "no_llm",
        "no_index",
        "no_crawl",
        "no_tdm",
        "no_scraping",
    ]
)
_NEGATIONS = word_set("anti no non not without")
# A number of those who complained about the row.
_REPORTS = word_set("appealed complained contested disputed escalated reported reports")
_COUNTS = word_set("count counts n num number times total")
_MOST_REPORTS = 100  # a larger number may be a year, or an identifier
NAME_WORDS = _PERSONS | _TURNS | _CLOSED | _REPORTS | word_set("no report tdm")

# Names of the order in which two answers were shown.
_ORDERS = word_set(
    """
    arrangement display displayed layout order ordering orientation permutation placement position positions
    presentation presented sequence shown sides swap
    """
)
_OTHER_ORDER = re.compile(
    r"b_?[-/,|>]?_?a|2[-_/,|]+1|1[-_/,|]+0|b_(?:first|then_a)|second_(?:first|then_first)|right_(?:first|left)|"
    r"(?:is_|was_)?(?:" + "|".join(sorted(_TURNS)) + r")"
)


def looks_doubted(path: str, value: Any) -> bool:
    """Return whether a value sets a flag against its row, or counts those who reported it."""
    if isinstance(value, list | dict):
        return False
    kind = _kind_of(path)
    if kind == "reports":
        number = as_score(value)
        return number is not None and number.is_integer() and 0 < number <= _MOST_REPORTS
    ticked = isinstance(value, str) and value.strip().lower() in TICKS
    return bool(kind) and (ticked or as_flag(value) is True)


def doubt_meaning(path: str, values: Collection[str]) -> str:
    """Return the meaning of such a flag, as YAML, so that no row against which it speaks is learned.

    Args:
        path: The key. Any other key has none.
        values: Its different values, as `short_values` spells them.
    """
    kind = _kind_of(path)
    if not kind or not values:
        return ""
    if set(values) <= TRUE | FALSE:
        return "deleted"
    if kind == "reports" and all(as_score(value) is not None for value in values):
        said = (f"{yaml_value(v)}: {'ignore' if as_score(v) else 'accept'}" for v in sorted(values))
        return f"{{{', '.join(said)}}}"
    return ""


@lru_cache(maxsize=4096)
def _kind_of(path: str) -> str:
    """Return what a flag says by its name: `person`, `turned`, `closed` or `reports`; empty for any other."""
    words = frozenset(flatten_name(path.rpartition(".")[2]).split("_"))
    if words & _CLOSED or any(pair <= words for pair in _CLOSED_PAIRS):
        return "closed"
    # `not_a_spammer` is true of others.
    if words & _NEGATIONS:
        return ""
    if words & _PERSONS:
        return "person"
    if words & _TURNS and words <= _TURNS | _TURNED:
        return "turned"
    reports = words & _REPORTS or ("report" in words and words & _COUNTS)
    return "reports" if reports and not words & (TIME_WORDS - {"times"}) else ""


def tells_other_order(name: str, value: Any) -> bool:
    """Return whether a value beside a choice says that its answers were shown in another order, as `ba`.

    Whether the choice is about the order that was shown, only a person can say.
    """
    if _ORDERS.isdisjoint(flatten_name(name).split("_")):
        return False
    parts: Iterable[Any] = value if isinstance(value, list) else [value]
    said = "_".join(plain_word(str(part)) for part in parts)
    return len(said) < 20 and _OTHER_ORDER.fullmatch(said) is not None
