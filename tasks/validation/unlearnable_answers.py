"""Recognize answers from which nothing can be learned, as they repeat their prompt."""

from __future__ import annotations

_FEWEST = 2  # words; people do answer `Hello` with `Hello`


def is_new(prompt: str | None, answer: str | None) -> bool:
    """Return false for an answer of two words or more that repeats its prompt, also in other capitals."""
    words = (answer or "").casefold().split()
    return len(words) < _FEWEST or words != (prompt or "").casefold().split()
