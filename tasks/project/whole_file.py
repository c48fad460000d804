"""Text files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from model.atomic_file import atomic_path


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and rename it there; where that fails, leave what was there as it was."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
