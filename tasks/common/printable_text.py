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


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can hold a text: it has no lone surrogate, as an argument of other bytes has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_surrogates(text: str) -> str:
    r"""Return a text with each lone surrogate written as an escape, such as \udce9."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
