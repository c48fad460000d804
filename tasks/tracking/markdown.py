"""Markdown that shows the text of users unchanged."""

from __future__ import annotations


def as_markdown(text: str) -> str:
    """Return a text on one line with Markdown's special characters escaped."""
    flat = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in flat)
