"""Files that people sign line by line, as of rows admitted or withdrawn: read with places, appended whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from model.atomic_file import atomic_path
from model.errors import UserError
from tasks.common.file_lock import exclusive_lock
from tasks.data.records import parse_lines
from tasks.project.paths import RECORDS


def read_numbered(file: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file with the numbers of their lines; `name` is the file's in messages."""
    at = 0
    with file.open("rb") as opened:

        def counted() -> Iterator[bytes]:
            nonlocal at
            for line in opened:
                at += 1
                yield line

        for values in parse_lines(counted(), name):
            yield at, values


def check_signed(values: Mapping[str, Any], place: str, names: Iterable[str]) -> None:
    """Raises UserError where one of `names` is no text, or `time` is not ISO 8601."""
    for name in names:
        if not isinstance(values.get(name), str) or not values[name].strip():
            raise UserError(f"{place}: {name} is {brief_json(values.get(name))}; a text is right")
    try:
        datetime.fromisoformat(values["time"])
    except ValueError as error:
        raise UserError(
            f"{place}: time is {brief_json(values['time'])}; ISO 8601 is right, as in "
            f"2026-01-31T12:00:00+00:00"
        ) from error


def append_lines(root: Path, path: Path | str, lines: Iterable[str], read: Callable[[], object]) -> None:
    """Add lines to a file, all or none; `read` raises UserError where what stands in it is broken."""
    file = (root / path).resolve()
    added = "".join(f"{line}\n" for line in lines)
    # The lock lies in var/, which is not committed.
    with exclusive_lock(
        root / RECORDS / f"{file.stem}.lock", lambda event: None, "another process writes it"
    ):
        read()
        before = file.read_bytes() if file.exists() else b""
        ended = before if before.endswith(b"\n") or not before else before + b"\n"
        part = file.with_name(file.name + ".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(file, part):
                part.write_bytes(ended + added.encode("utf-8", "replace"))
        except OSError as error:
            raise UserError(f"{path} could not be written ({error.strerror}); it is what it was") from error


def brief_json(value: Any) -> str:
    """A value as JSON, for a message: its first 60 characters."""
    said = json.dumps(value)
    return said if len(said) <= 60 else f"{said[:59]}…"
