"""Recognize signs around a word that may turn its meaning round, as in `!good`, `👎 a` and `b?`."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Quotes, brackets, marks of lists and of emphasis, ticks and praise.
_HARMLESS = frozenset("'\"`´“”„‘’«»‹›()[]{}.,:;_*#=/&|+\\@…·•!-–—−%✓✔☑✅👍🏆🥇⭐★☆️‍") | {
    chr(code) for code in range(0x1F3FB, 0x1F400)
}
# A sign of negation or a dash before the first word, a dash after the last one, and a question.
_TURNED = re.compile(r"^\W*[!\-–—−]\W*\w|\w\W*[-–—−]\W*$|\?")
_LEADING = re.compile(r"\s*[!\-–—−]\s*[^\W\d_]")


@lru_cache(maxsize=4096)
def has_turning_sign(text: str) -> bool:
    """Return whether a text of a few words has a sign that may turn them round, or doubt them."""
    return _TURNED.search(text) is not None or any(
        not (c.isalnum() or c.isspace() or c in _HARMLESS or unicodedata.category(c)[0] in "LMNZC")
        for c in text
    )


def is_negated_word(text: str) -> bool:
    """Return whether a word follows a sign of negation or a dash, as `!good` and `-good`."""
    return _LEADING.match(text) is not None
