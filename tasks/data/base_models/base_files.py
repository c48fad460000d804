"""Checksums of base models that were fetched or converted; damaged files are not used again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from model.atomic_file import replace_text
from model.events import EventCallback, Message
from tasks.common.checksums import file_sum, folder_files, sums_by_name

# Beside the model and not in it: a model's files are part of the cache keys of its trainings.
_SUMS = ".sums"


def record_sums(path: Path, target: Path) -> None:
    """Record the checksums of a complete model, before it is moved to its place.

    Args:
        path: Its folder or file, under a temporary name.
        target: Its place; the checksums are written beside it.
    """
    sums = {file.relative_to(path).as_posix(): file_sum(file) for file in folder_files(path)}
    replace_text(target.with_name(target.name + _SUMS), json.dumps(sums, indent=0))


def is_intact(path: Path, root: Path, on_event: EventCallback) -> bool:
    """Return whether a fetched or converted model is here, with the files that it had at first.

    A damaged one is renamed to `NAME.damaged`, so that the caller makes it again. An unchanged file is not
    read again. A model of an older chatmill, which recorded no checksums, counts as intact.

    Args:
        path: The model's folder or file.
        root: The project's folder.
        on_event: Receives a notice about a damaged file.
    """
    if not path.exists():
        return False
    try:
        recorded = json.loads(path.with_name(path.name + _SUMS).read_bytes())
    except (OSError, ValueError):
        return True
    sums = sums_by_name(path, root)
    if sums == recorded:
        return True
    differing = min(name for name in {*sums, *recorded} if sums.get(name) != recorded.get(name))
    aside = _free_name(path)
    on_event(
        Message(
            f"{path / differing} is damaged: it is not the file that was fetched or converted; renamed "
            f"{path.name} to {aside.name}, and making it again"
        )
    )
    # Another process may have found the damage at the same time.
    with suppress(FileNotFoundError):
        path.rename(aside)
    return False


def _free_name(path: Path) -> Path:
    """Return a name for damaged files that is not taken."""
    number, found = 1, path.with_name(f"{path.name}.damaged")
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.damaged-{number}")
    return found
