"""The folders of an input that a stage reads, if it names them by `input_patterns`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def matches_patterns(file: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a file's path leads through a folder that `Path.glob` would find by a pattern."""
    parts = PurePosixPath(file).parts[:-1]
    return any(
        PurePosixPath(*parts[:depth]).match(pattern)
        for pattern in patterns
        if 0 < (depth := len(PurePosixPath(pattern).parts)) <= len(parts)
    )


def make_view(folder: Path, patterns: tuple[str, ...], place: Path) -> Path:
    """Create `place` with links to the matches in `folder`: a stage reads only what its key includes."""
    place.mkdir(parents=True)
    for pattern in patterns:
        for found in sorted(folder.glob(pattern)):
            link = place / found.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(found.resolve())
    return place
