"""Recognize signs around a word that may turn its meaning round, as in `!good`, `👎 a` and `b?`."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Quotes, brackets, marks of lists and of emphasis, ticks and praise.
_HARMLESS = frozenset("'\"`´“”„‘’«»‹›()[]{}.,:;_*#=/&|+\\@…·•!-–—−%✓✔☑✅👍🏆🥇⭐★☆️‍") | {
    chr(code) for code in range(0x1F3FB, 0x1F400)
}
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"
_NEGATIONS = f"!\uff01{_DASHES}"
# Combining strokes, as in a word that is struck through. One of them makes an equals sign an unequal one.
_STROKES = frozenset("\u0334\u0335\u0336\u0337\u0338")
# A sign of negation or a dash before the first word, a dash after the last one, and a question.
_TURNED = re.compile(rf"^\W*[{re.escape(_NEGATIONS)}]\W*\w|\w\W*[{re.escape(_DASHES)}]\W*$|\?")


@lru_cache(maxsize=4096)
def has_turning_sign(text: str) -> bool:
    """Return whether a text of a few words has a sign that may turn them round, or doubt them."""
    return (
        _TURNED.search(text) is not None
        or is_negated_word(text)
        or any(
            not (c.isalnum() or c.isspace() or c in _HARMLESS or unicodedata.category(c)[0] in "LMNZC")
            for c in text
        )
    )


def has_raised_digit(text: str) -> bool:
    """Return whether a text has a raised or a lowered digit or sign, as `5²`: a footnote or an exponent."""
    return not text.isascii() and any(
        unicodedata.decomposition(c).startswith(("<super>", "<sub>")) and not c.isalpha() for c in text
    )


def is_negated_word(text: str) -> bool:
    """Return whether a word has a sign of negation or a dash before it, a dash after it, or a stroke.

    `!good`, `-good`, `!2` and `good -` are examples. So is -1, which its callers read as a number.
    """
    if not text.isascii() and not _STROKES.isdisjoint(unicodedata.normalize("NFKD", text)):
        return True
    bare = text.strip()
    if not bare.strip(f"{_NEGATIONS}_. "):
        return False
    return bare[0] in _NEGATIONS or bare[-1] in _DASHES
