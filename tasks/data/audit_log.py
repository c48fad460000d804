"""Read and append files of signed lines, such as released or withdrawn rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from model.atomic_file import atomic_path, fixed_part
from model.errors import UserError, file_error
from tasks.common.file_lock import exclusive_lock
from tasks.data.records import parse_lines
from tasks.project.paths import RECORDS

# The keys of these files for the person who signs a line and for their reason. The files are committed, so
# the keys of version 0.1 stay.
AUTHOR_KEY, REASON_KEY = "by", "why"

Content = TypeVar("Content")


def read_numbered(file: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with the numbers of their lines.

    Args:
        file: The file.
        name: Its name in messages.
    """
    at = 0
    with file.open("rb") as opened:

        def counted() -> Iterator[bytes]:
            # `parse_lines` skips empty lines, so the numbers are counted before it.
            nonlocal at
            for line in opened:
                at += 1
                yield line

        for values in parse_lines(counted(), name):
            yield at, values


def check_signed(values: Mapping[str, Any], place: str, names: Iterable[str] = ()) -> None:
    """Raise UserError if the author, the reason or one of `names` is not text, or `time` is not ISO 8601."""
    for name in (*names, AUTHOR_KEY, REASON_KEY, "time"):
        if not isinstance(values.get(name), str) or not values[name].strip():
            raise UserError(f"{place}: {name} is {brief_json(values.get(name))}; expected a text")
    try:
        datetime.fromisoformat(values["time"])
    except ValueError as error:
        raise UserError(
            f"{place}: time is {brief_json(values['time'])}; expected ISO 8601, as in "
            f"2026-01-31T12:00:00+00:00"
        ) from error


def append_lines(
    root: Path, path: Path | str, lines: Callable[[Content], Iterable[str]], read: Callable[[], Content]
) -> None:
    """Append lines to a file, all or none.

    Args:
        root: The project's folder.
        path: The file, relative to `root`.
        lines: Returns the lines, without line ends, from what `read` returned. A process that waited for
            another one thus sees what that one wrote.
        read: Returns the content of the file. Raises UserError if it is damaged.
    """
    file = (root / path).resolve()
    # The file lock is in var/, as the file's own folder is committed.
    with exclusive_lock(
        root / RECORDS / f"{file.stem}.lock", lambda event: None, "another process is writing it"
    ):
        # Read under the lock, as another process may have changed the file while this one waited.
        added = "".join(f"{line}\n" for line in lines(read()))
        if not added:
            return
        before = file.read_bytes() if file.exists() else b""
        # An editor may have saved the file without a line end.
        ended = before if before.endswith(b"\n") or not before else before + b"\n"
        part = fixed_part(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Written beside the file and renamed: a full disk or a crash must not truncate decisions of
            # people.
            with atomic_path(file, part), part.open("wb") as written:
                written.write(ended + added.encode("utf-8", "replace"))
                written.flush()
                os.fsync(written.fileno())
        except OSError as error:
            raise file_error(path, "could not be written", error, "it is unchanged") from error


def brief_json(value: Any) -> str:
    """Return a value as JSON for a message, cut to 60 characters."""
    said = json.dumps(value)
    return said if len(said) <= 60 else f"{said[:59]}…"
