"""Find the data files of a folder that are left out because they or their folder are hidden."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tasks.common.counts import counted
from tasks.data.file_io.files import unpacked_suffix
from tasks.data.sources.source_files import walk_folders
from tasks.data.sources.source_reading import ENDINGS

HIDDEN_FILE = "hidden files are left out; rename it without the dot to have it read"
# Folders that programs keep for themselves. Nobody puts data there.
_PROGRAMS = (
    ".git", ".hg", ".svn", ".dvc", ".venv", ".env", ".tox", ".nox", ".idea", ".vscode", ".github", ".gitlab",
    ".ipynb_checkpoints",
)  # fmt: skip
_PROGRAM_ENDS = ("cache", ".tmp")
_MOST = 1000  # files of a hidden folder that are counted


def hidden_data(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each hidden file or folder below a folder that would be read under another name, and why not.

    A hidden folder is named once, with the number of its data files.
    """
    for here, _, _ in walk_folders(folder):
        for path in sorted(here.glob(".*")):
            if path.is_file() and _is_data(path.name):
                yield path, HIDDEN_FILE
            elif path.is_dir() and not _is_program(path.name) and (count := _count_data(path)):
                many = f"more than {_MOST:,} data files" if count > _MOST else counted(count, "data files")
                yield path, f"a hidden folder with {many}, left out; rename it without the dot"


def _is_data(name: str) -> bool:
    return unpacked_suffix(name) in ENDINGS


def _is_program(name: str) -> bool:
    return name in _PROGRAMS or name.endswith(_PROGRAM_ENDS) or name.startswith(".Trash")


def _count_data(folder: Path) -> int:
    """Return the number of data files in a hidden folder, up to one more than `_MOST`."""
    count = 0
    for _, _, names in os.walk(folder):
        count += sum(map(_is_data, names))
        if count > _MOST:
            return _MOST + 1
    return count
