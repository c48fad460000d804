"""Write a user's keys and values into messages: short, on one line, without control characters."""

from __future__ import annotations

from typing import Any

from tasks.common.names import yaml_quoted

YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
_LONGEST = 200  # characters of a key in a proposal, which must be the whole key
_SHOWN = 48  # characters of a key or a value


def yaml_key(path: str) -> str:
    """Return a key as YAML that is read back as the same key, in quotes if it has brackets and the like."""
    path = path if len(path) <= _LONGEST else shown_key(path)
    bare = path.replace(".", "").replace("_", "")
    # A key of digits or a word such as `no` would be read as a number or as false.
    plain = bare.isalnum() and not path[0].isdigit() and path.lower() not in YAML_WORDS
    return path if plain else yaml_quoted(path)


def format_sample(value: Any) -> str:
    """Return a value as one short line without control characters."""
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return ascii_controls(repr(cut) if isinstance(value, str) else cut)


def shown_key(path: str) -> str:
    """Return a key as one short word without control characters."""
    cut = path if len(path) <= _SHOWN else path[: _SHOWN - 1] + "…"
    return ascii_controls(cut)


def ascii_controls(text: str) -> str:
    """Return a text with unprintable characters as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )
