"""Text files that are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

from model.atomic_file import atomic_path


def write_whole(path: Path, text: str) -> None:
    """Write a text file atomically: a failure leaves the former file unchanged."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
