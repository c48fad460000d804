"""Measure the scripts that a text is written in, by Unicode's Script property (UAX #24)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# The scripts of living languages that have one in wide use; names as in Unicode's Scripts.txt.
SCRIPTS = (
    "Arabic", "Armenian", "Bengali", "Bopomofo", "Canadian_Aboriginal", "Cherokee", "Cyrillic", "Devanagari",
    "Ethiopic", "Georgian", "Greek", "Gujarati", "Gurmukhi", "Han", "Hangul", "Hebrew", "Hiragana",
    "Javanese", "Kannada", "Katakana", "Khmer", "Lao", "Latin", "Malayalam", "Mongolian", "Myanmar",
    "Nko", "Ol_Chiki", "Oriya", "Sinhala", "Syriac", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan",
    "Tifinagh", "Yi",
)  # fmt: skip
CODE_POINTS = 0x110000
# The table's entry for code points that are no letters, or belong to no one script: they are not counted.
_NONE = len(SCRIPTS) + 1


def is_known_script(name: str) -> bool:
    """Return whether `share_in` knows a script of this name."""
    return name in SCRIPTS


def share_in(text: str, scripts: Sequence[str]) -> float:
    """Return the share of a text's letters that belong to some scripts.

    Letters that Unicode assigns to no one script are not counted, such as U+30FC, the long-vowel mark of both
    kana.

    Args:
        text: The text.
        scripts: Names of `SCRIPTS`.

    Returns:
        A number from 0 to 1; 1 if the text has no letters.

    Raises:
        ValueError: A name is not in `SCRIPTS`.
    """
    for name in scripts:
        if not is_known_script(name):
            raise ValueError(f"no script is called {name!r}; there are {', '.join(SCRIPTS)}")
    # All letters of ASCII are Latin, and most text takes this path.
    if text.isascii() and "Latin" in scripts:
        return 1.0
    # Half a surrogate pair is a code point without a letter; "surrogatepass" keeps the encoder from raising.
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    counts = np.bincount(_script_table()[points], minlength=_NONE + 1)
    letters = int(counts[:_NONE].sum())
    inside = sum(int(counts[SCRIPTS.index(name)]) for name in set(scripts))
    return inside / letters if letters else 1.0


@lru_cache(maxsize=1)
def _script_table() -> np.ndarray:
    """Return a table with an entry for each code point, built once for each process.

    An entry is the script's index in `SCRIPTS`, `len(SCRIPTS)` for any other script, or `_NONE` for no
    letter.
    """
    import regex  # type: ignore[import-untyped]

    table = np.full(CODE_POINTS, _NONE, dtype=np.uint8)
    letters = "".join(filter(str.isalpha, map(chr, range(CODE_POINTS))))
    for match in regex.finditer(r"[^\p{Script=Common}\p{Script=Inherited}]", letters):
        table[ord(match[0])] = len(SCRIPTS)
    for index, name in enumerate(SCRIPTS):
        for match in regex.finditer(rf"\p{{Script={name}}}+", letters):
            table[np.frombuffer(match[0].encode("utf-32-le"), dtype="<u4")] = index
    return table
