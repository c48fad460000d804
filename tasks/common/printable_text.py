"""Recognize texts with characters that cannot be printed."""

from __future__ import annotations

import re
import unicodedata

# Control characters except tab and line ends, the replacement character, and code points that are no
# characters.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ufffe\uffff]")
UNPRINTABLE_ASCII = bytes(byte for byte in range(128) if UNPRINTABLE.match(chr(byte)))


def is_printable(text: str) -> bool:
    """Return whether a text has no character of UNPRINTABLE and is in Unicode's composed form (NFC)."""
    if text.isascii():
        # ASCII is always NFC. `translate` on bytes is faster than a regular expression, and most text takes
        # this path.
        raw = text.encode()
        return len(raw.translate(None, UNPRINTABLE_ASCII)) == len(raw)
    return UNPRINTABLE.search(text) is None and unicodedata.is_normalized("NFC", text)
