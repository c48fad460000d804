"""Short safe names made of a user's own, and a user's own names written into YAML."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection

LONGEST = 48  # characters of a name; a preset's is also a file's, an experiment's and a model's
LETTERS = {
    "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "å": "a", "ł": "l", "đ": "d",
    "ð": "d", "þ": "th", "ı": "i",
}  # fmt: skip


def slug(text: str, default: str = "mine") -> str:
    """Return a name of a-z, 0-9 and dashes for a text: accents go, German umlauts become two letters.

    A text without any letter that can be written so becomes `default` with digits of its digest, so that two
    such texts have two names. A long one is cut, with such digits too.
    """
    lowered = unicodedata.normalize("NFC", text).lower()
    spelled = "".join(LETTERS.get(char, char) for char in lowered)
    plain = "".join(
        char for char in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(char)
    )
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    code = hashlib.sha256(lowered.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    if not words:
        return f"{default}-{code}" if any(map(str.isalnum, lowered)) else default
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 7].rstrip('-')}-{code}"


def unused(wanted: str, taken: Collection[str]) -> str:
    """Return a name that is not taken yet: the one wanted, or that with a number behind it."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def yaml_text(value: str) -> str:
    """Return a text as a double-quoted YAML scalar; what YAML would read otherwise stands as an escape."""
    # JSON's escapes are YAML's too, but for characters above U+FFFF and those that JSON leaves as they are.
    return "".join(
        char
        if char.isprintable()
        else f"\\u{ord(char):04x}"
        if ord(char) < 0x10000
        else f"\\U{ord(char):08x}"
        for char in json.dumps(value, ensure_ascii=False)
    )


def yaml_comment(text: str) -> str:
    """Return a text that stays on the line of a YAML comment: what is not printable stands as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in " ".join(text.split())
    )


def shown_name(name: str) -> str:
    """Return a person's name in a message: quoted where it could be taken for something else."""
    return name if name.isprintable() and name == name.strip() else ascii(name)
