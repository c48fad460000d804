"""Advice on which files to commit, for projects in a git repository."""

from __future__ import annotations

from pathlib import Path


def advise_commit(root: Path, *names: str) -> str:
    """Return how to commit files of a project, as in "`git add a b` and commit both"; "" outside git."""
    whole = root.absolute()
    if not any((folder / ".git").exists() for folder in (whole, *whole.parents)):
        return ""
    return f"`git add {' '.join(names)}` and commit {'it' if len(names) == 1 else 'both'}"
