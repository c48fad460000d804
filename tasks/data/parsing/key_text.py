"""Write a user's keys and values into messages: short, on one line, without control characters."""

from __future__ import annotations

from typing import Any

_SHOWN = 48  # characters of a key or a value


def yaml_key(path: str) -> str:
    """Return a key as YAML, in quotes if it has brackets and the like."""
    key = shown_key(path)
    return key if key.replace(".", "").replace("_", "").isalnum() else f'"{key}"'


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
