"""Find the verdict at the beginning of a text that goes on with a reason, as `bad because it is wrong`."""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.data.parsing.field_meanings import FALSE, NEGATIVE, POSITIVE, TRUE, plain_word, word_set

_LONGEST = 30  # characters of an opening
_MOST_WORDS = 3
_BEFORE = r"\s*[\"'“”„«*_\[(]*\s*"
_AFTER = r"[\"'“”»*_\])]*"
_SAID = r"(?P<said>[^\s\"'“”„«*\[(](?:[^\n.,;:!?()\[\]{}–—]*?[^\s\"'“”»*.,;:!?()\[\]{}–—-])??)"
# A sign that ends an opening under any name: `Rejected. It is wrong`, `down: it is wrong`, `bad - wrong`.
_STRICT = re.compile(rf"{_BEFORE}{_SAID}{_AFTER}\s*(?:[:;–—(\[\n]|[.!](?=\s|$|[\"'“”»*_)])|\s?-\s)")
# Under the name of a verdict, a comma or a word such as `because` is enough.
_LOOSE = re.compile(
    rf"{_BEFORE}{_SAID}{_AFTER}\s*(?:[:;,–—(\[\n]|[.!](?=\s|$|[\"'“”»*_)])|\s?-\s|"
    r"\s(?:because|since|as|due\s+to|weil|da|denn|parce|car|porque|perché|omdat|потому)\b)",
    re.I,
)
_WEAK = word_set("up down like dislike pos neg positive negative pass fail +1 -1 yes no y n")


@lru_cache(maxsize=4096)
def _find(text: str, loose: bool) -> str:
    found = (_LOOSE if loose else _STRICT).match(text)
    said = found["said"].strip() if found else ""
    return said if len(said) <= _LONGEST and len(said.split()) <= _MOST_WORDS else ""


def opening_of(value: object, loose: bool = False) -> str:
    """Return the few words with which a text begins before its reason; empty if it has no such beginning.

    Args:
        value: The value. Only a text can have an opening.
        loose: Whether a comma or a word such as `because` ends it too, as under the name of a verdict.
    """
    if not isinstance(value, str):
        return ""
    # The rest of a long text decides nothing.
    return _find(value[: 2 * _LONGEST], loose)


def without_reason(value: object) -> object:
    """Return the opening of a text that goes on with a reason; any other value unchanged."""
    return opening_of(value, loose=True) or value


def is_plain_vote(opening: str) -> bool:
    """Return whether an opening is a word for or against something, as `down` in `down: it is wrong`."""
    word = plain_word(opening)
    return word in _WEAK or (word in POSITIVE | NEGATIVE and word not in TRUE | FALSE)
