"""The files of a source, whatever they are packed in: as text, as lines, as objects with keys."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from model.errors import UserError
from tasks.records import parse_lines


class Item(NamedTuple):
    """One object of a file, and where it stands, for messages: the file with a line, an item or a row."""

    values: dict[str, Any]
    where: str


@dataclass(frozen=True)
class File:
    """A file of a source, on disk (`path`) or in memory (`content`), or a part of it.

    A part is the lines that begin in [start, stop) bytes; `first` is the number of the first of them.
    `origin` is what messages call the file. It can be sent to another process.
    """

    origin: str
    content: bytes = b""
    path: Path | None = None
    start: int = 0
    stop: int | None = None
    first: int = 1

    def stream(self) -> BinaryIO:
        """The bytes from the first on, unpacked."""
        if self.path is None:
            return io.BytesIO(self.content[self.start : self.stop])
        file = self.path.open("rb")
        file.seek(self.start)
        return file

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Number and bytes of each line."""
        left = None if self.stop is None else self.stop - self.start
        with self.stream() as file:
            for number, line in enumerate(file, self.first):
                if left is not None:
                    if left <= 0:
                        return
                    left -= len(line)
                yield number, line

    def text(self) -> str:
        """The content as text. Raises UserError with file and offset where it is not UTF-8."""
        with self.stream() as file:
            try:
                return file.read().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{self.origin}: not UTF-8 at byte {error.start}; save it as UTF-8"
                ) from error

    def items(self) -> Iterator[Item]:
        """The objects of a JSON Lines file, a JSON array, a table of CSV, TSV or Parquet, one at a time.

        Raises UserError with the file and the line, item or row where one is broken.
        """
        for number, line in self.lines():
            for values in parse_lines([line], f"{self.origin}, line {number}"):
                yield Item(values, f"{self.origin}, line {number}")

    def document(self) -> Any:
        """The whole of a JSON file as one value. Raises UserError where it is none."""
        try:
            return json.loads(self.text())
        except json.JSONDecodeError as error:
            raise UserError(f"{self.origin}, line {error.lineno}: broken JSON ({error.msg})") from error
