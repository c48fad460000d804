"""Text of users as Markdown that shows it unchanged."""

from __future__ import annotations


def as_markdown(text: str) -> str:
    """A name as Markdown shows it, whatever is in it."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in flat)
