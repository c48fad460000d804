"""Short safe names made of a user's own, and a user's own names written into YAML."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

_LONGEST = 48  # characters of a name; a preset's is also a file's, an experiment's and a model's
LONGEST_KEY = 250  # of MLflow's keys
LONGEST_FILE = 200  # file systems take 255 bytes, the ending among them
# What MLflow takes in a key is the rest. An underscore that begins as an escape does is escaped itself.
_REFUSED = re.compile(r"[^/\w.\- :]+|_(?=u[0-9A-F])")
_ESCAPED = re.compile(r"_u([0-9A-F]+)_")
# Control, format and unassigned characters, surrogates, all spaces; and letters that are drawn as nothing.
UNSEEN = ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp", "Zs")
INVISIBLE = "\u115f\u1160\u2800\u3164\uffa0"
LETTERS = {
    "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "å": "a", "ł": "l", "đ": "d",
    "ð": "d", "þ": "th", "ı": "i",
}  # fmt: skip


def is_blank(name: str) -> bool:
    """Return whether a name shows nothing: it has only spaces, control characters or invisible ones."""
    return all(char in INVISIBLE or unicodedata.category(char) in UNSEEN for char in name)


def name_fault(name: str) -> str:
    """Return why a text is no name, in words that follow it; empty where it is one.

    A name may hold a slash, as in `press/films`, but not lead anywhere as a path does.
    """
    if is_blank(name):
        return "which shows nothing; any name with a letter is right"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        return "which holds a control character; a name of one line is right"
    if "\\" in name or name.startswith("~") or any(part in ("", ".", "..") for part in name.split("/")):
        return "which is a path; a name is right"
    return ""


def stratum_key(aspect: str, source: str) -> str:
    """Return ASPECT/SOURCE; a slash in the aspect is escaped, so that two strata never have one key."""
    return f"{aspect.replace('%', '%25').replace('/', '%2F')}/{source}"


def split_stratum(key: str) -> tuple[str, str]:
    """Return the aspect and the source that `stratum_key` made a key of."""
    aspect, _, source = key.partition("/")
    return aspect.replace("%2F", "/").replace("%25", "%"), source


def slugify_name(text: str, default: str = "mine") -> str:
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
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 7].rstrip('-')}-{code}"


def unused_name(wanted: str, taken: Collection[str]) -> str:
    """Return a name that is not taken yet: the one wanted, or that with a number behind it."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def mlflow_key(name: str) -> str:
    """Return a key of MLflow's for a metric or parameter of any name; `plain_key` gives the name back.

    Characters that MLflow refuses stand as `_uHEX_`. A key that is too long ends in digits of its digest.
    """
    escaped = _REFUSED.sub(lambda found: "".join(f"_u{ord(char):X}_" for char in found[0]), name)
    parts = escaped.split("/")
    # As a path, which MLflow takes a key for, it must be its own normal form.
    if any(part in ("", ".", "..") for part in parts):
        escaped = "_u2F_".join("_u2E_" * len(part) if part in (".", "..") else part for part in parts)
    if escaped.startswith(".."):
        escaped = "_u2E__u2E_" + escaped[2:]
    if len(escaped) <= LONGEST_KEY:
        return escaped
    code = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{escaped[: LONGEST_KEY - 20]}_{code}"


def plain_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics or parameters of a run of MLflow's by their plain names."""
    return {plain_key(key): value for key, value in values.items()}


def plain_key(key: str) -> str:
    """Return the name that `mlflow_key` made a key of."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), key)


def file_name(name: str) -> str:
    """Return a file name, without its ending, for any text: percent-encoded, and cut where it is long."""
    quoted = quote(name, safe="", errors="surrogatepass")
    if len(quoted) <= LONGEST_FILE:
        return quoted
    code = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{quoted[: LONGEST_FILE - 17]}-{code}"


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


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` characters, cut between words where it has any, with a mark."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    whole, _, rest = cut.rpartition(" ")
    # A text without spaces, or with one very long word, is cut within it.
    return f"{whole if whole and len(rest) < most // 2 else cut}…"
