"""Safe short names derived from names that users choose, and such names written as YAML."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

_LONGEST = 48  # characters of a name; a preset's is also a file's, an experiment's and a model's
LONGEST_KEY = 250  # of MLflow's keys
LONGEST_FILE = 200  # file systems take 255 bytes, the ending among them
# MLflow accepts all other characters in a key. An underscore that looks like the start of an escape is
# escaped too, so that `plain_key` restores every name.
_REFUSED = re.compile(r"[^/\w.\- :]+|_(?=u[0-9A-F])")
_ESCAPED = re.compile(r"_u([0-9A-F]+)_")
# Control, format and unassigned characters, surrogates, all spaces; and letters that are drawn as nothing.
UNSEEN = ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp", "Zs")
INVISIBLE = "\u115f\u1160\u2800\u3164\uffa0"
LETTERS = {
    "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "å": "a", "ł": "l", "đ": "d",
    "ð": "d", "þ": "th", "ı": "i",
}  # fmt: skip

# Letters of other scripts that look like Latin ones, as in a "label" with a Cyrillic a.
_LOOKS_LIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u0251\u0261\u03bf\u03b1\u03b9\u03bd\u03c1"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405\u039f\u0391\u0399",
    "aeopcyxijsdhagoaivpABEKMHOPCTYXIJSOAI",
)
_MIXED = re.compile(r"[^\W_]*[A-Za-z][^\W_]*")
# Signs that turn the text after them round, so that a name would show as another one.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def latin_letters(text: str) -> str:
    """Return a text in which letters of other scripts that look like Latin ones are Latin.

    Only words with a Latin letter are changed: a word of another script means what it says.
    """
    return _MIXED.sub(lambda word: word[0].translate(_LOOKS_LIKE), text)


def is_blank(name: str) -> bool:
    """Return whether a name consists only of spaces, control characters and invisible characters."""
    return all(char in INVISIBLE or unicodedata.category(char) in UNSEEN for char in name)


def source_rank(source: str, sources: Sequence[str]) -> tuple[int, str]:
    """Return a key that sorts sources as the preset lists them, and others behind them by name."""
    return (sources.index(source), "") if source in sources else (len(sources), source)


def name_fault(name: str) -> str:
    """Return why a text is not a valid name, in words that follow the text; empty if it is valid.

    A name may contain a slash, as in `press/films`, but no part that a path could leave its folder by.
    """
    if is_blank(name):
        return "which is blank; expected a name with a letter"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name):
        return "which contains a control character; expected a name of one line"
    if _TURNING.search(name):
        return "which contains a sign that turns text round; expected letters alone"
    if "\\" in name or name.startswith("~") or any(part in ("", ".", "..") for part in name.split("/")):
        return "which is a path; expected a name"
    return ""


def stratum_key(aspect: str, source: str) -> str:
    """Return the key ASPECT/SOURCE of a stratum.

    A slash in the aspect is escaped, so that two strata never share a key.
    """
    return f"{aspect.replace('%', '%25').replace('/', '%2F')}/{source}"


def split_stratum(key: str) -> tuple[str, str]:
    """Return the aspect and the source of a key from `stratum_key`."""
    aspect, _, source = key.partition("/")
    return aspect.replace("%2F", "/").replace("%25", "%"), source


def slugify_name(text: str, default: str = "mine") -> str:
    """Return a name of a-z, 0-9 and dashes for a text.

    Accents are dropped, and German umlauts become two letters. A text without any letter of that kind becomes
    `default` with digits of its digest, so that two such texts get two names. A long name is cut and gets
    such digits too.
    """
    lowered = unicodedata.normalize("NFC", text).lower()
    spelled = "".join(LETTERS.get(char, char) for char in lowered)
    plain = "".join(
        char for char in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(char)
    )
    # NFKD splits an accented letter into the letter and its accent. It does not split letters such as ß or ø,
    # which LETTERS spells out.
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    code = hashlib.sha256(lowered.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    if not words:
        return f"{default}-{code}" if any(map(str.isalnum, lowered)) else default
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 7].rstrip('-')}-{code}"


def unused_name(wanted: str, taken: Collection[str]) -> str:
    """Return `wanted`, or `wanted` with the first number behind it that makes it unused."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def mlflow_key(name: str) -> str:
    """Return a valid MLflow key for a metric or parameter of any name; `plain_key` reverses it.

    A character that MLflow refuses is written as `_uHEX_`. A key that is too long is cut and ends in digits
    of its digest.
    """
    escaped = _REFUSED.sub(lambda found: "".join(f"_u{ord(char):X}_" for char in found[0]), name)
    parts = escaped.split("/")
    # MLflow takes a key for a path and refuses one that is not its own normal form, such as `a//b` or
    # `a/./b`.
    if any(part in ("", ".", "..") for part in parts):
        escaped = "_u2F_".join("_u2E_" * len(part) if part in (".", "..") else part for part in parts)
    if escaped.startswith(".."):
        escaped = "_u2E__u2E_" + escaped[2:]
    if len(escaped) <= LONGEST_KEY:
        return escaped
    code = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{escaped[: LONGEST_KEY - 20]}_{code}"


def plain_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics or parameters of an MLflow run under their plain names."""
    return {plain_key(key): value for key, value in values.items()}


def plain_key(key: str) -> str:
    """Return the name that `mlflow_key` encoded."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), key)


def file_name(name: str) -> str:
    """Return a file name without suffix for any text: percent-encoded, and cut if it is long."""
    quoted = quote(name, safe="", errors="surrogatepass")
    if len(quoted) <= LONGEST_FILE:
        return quoted
    code = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{quoted[: LONGEST_FILE - 17]}-{code}"


def yaml_text(value: str) -> str:
    """Return a text as a double-quoted YAML scalar; characters that YAML would interpret are escaped."""
    # JSON's escapes are valid in YAML. The exceptions are characters above U+FFFF, which YAML does not write
    # as surrogates, and unprintable ones, which JSON leaves as they are.
    return "".join(
        char
        if char.isprintable()
        else f"\\u{ord(char):04x}"
        if ord(char) < 0x10000
        else f"\\U{ord(char):08x}"
        for char in json.dumps(value, ensure_ascii=False)
    )


def yaml_quoted(text: str) -> str:
    """Return a text as a quoted YAML scalar, without escapes where that is possible."""
    if ('"' in text or "\\" in text) and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return yaml_text(text)


def yaml_comment(text: str) -> str:
    """Return a text for one line of a YAML comment; unprintable characters are escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in " ".join(text.split())
    )


def shown_name(name: str) -> str:
    """Return a person's name for a message, quoted if it has unprintable characters or outer spaces."""
    return name if name.isprintable() and name == name.strip() else ascii(name)


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` characters, cut between words if possible, with an ellipsis."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    whole, _, rest = cut.rpartition(" ")
    # A text without spaces, or with one very long word, is cut within it.
    return f"{whole if whole and len(rest) < most // 2 else cut}…"
