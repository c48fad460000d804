"""The files of a source, whatever they are packed in: as text, as lines, as objects with keys."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from model.errors import UserError
from tasks.data.formats import decoding
from tasks.data.formats.decoding import LARGEST
from tasks.data.formats.json_stream import read_json, read_object, read_objects
from tasks.data.formats.tables import on_disk, read_parquet, read_table

Container = Literal["lines", "json", "csv", "tsv", "parquet"]
CONTAINERS: dict[str, Container] = {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet",
}  # fmt: skip


def unpacked_suffix(name: str) -> str:
    """The suffix of a file's name in lower case, without that of its packing: `.jsonl` of a.jsonl.gz."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in decoding.SUFFIXES else path.suffix


class SourceRecord(NamedTuple):
    """One object of a file, and where it stands, for messages: the file with a line, an item or a row."""

    values: dict[str, Any]
    where: str

    def value(self, name: str) -> Any:
        """What stands under a key. Raises UserError with the keys, or columns, that there are."""
        if name not in self.values:
            there = ", ".join(map(str, self.values)) or "none"
            raise UserError(f"{self.where}: no key or column {name}; there are {there}")
        return self.values[name]


class BrokenItem(NamedTuple):
    """An object of a file that could not be read: where it stands, and why, as a whole sentence."""

    where: str
    fault: str


def _make_item(values: dict[str, Any], where: str, fault: str) -> SourceRecord | BrokenItem:
    return BrokenItem(where, fault) if fault else SourceRecord(values, where)


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, on disk (`path`) or in memory (`content`), or a part of it.

    A part is the lines that begin in [start, stop) bytes; `first` is the number of the first of them.
    `origin` is what messages call the file, and its suffixes say what it is: .jsonl, .json, .csv, .tsv or
    .parquet, each also packed as .gz or .zst. It can be sent to another process. Keys and columns named in
    `ignored` are left out of its objects.
    """

    origin: str
    content: bytes = b""
    path: Path | None = None
    start: int = 0
    stop: int | None = None
    first: int = 1
    ignored: tuple[str, ...] = ()

    @property
    def packing(self) -> str:
        """`.gz`, `.zst`, or empty for a file that is not packed."""
        last = Path(self.origin).suffix.lower()
        return last if last in decoding.SUFFIXES else ""

    @property
    def container(self) -> Container:
        """What the objects of the file stand in, by its suffix; by its first character where that says none.

        `json` is an array, or objects one after another.
        """
        if (told := CONTAINERS.get(unpacked_suffix(self.origin))) is not None:
            return told
        with self.characters() as file:
            while (found := file.read(1)).isspace():
                pass
        return "json" if found == b"[" else "lines"

    def stream(self) -> BinaryIO:
        """The bytes from the first on, unpacked. Raises UserError where there is no such file.

        Reading raises UserError where a packed file is damaged or a bomb.
        """
        file, size = self._open()
        if self.packing:
            return decoding.open_unpacked(file, self.packing, size, self.origin)
        file.seek(self.start)
        return file

    def _open(self) -> tuple[BinaryIO, int]:
        """The bytes as they are, and how many there are."""
        if self.path is None:
            return io.BytesIO(self.content), len(self.content)
        try:
            return self.path.open("rb"), self.path.stat().st_size
        except OSError as error:
            raise UserError(f"{self.origin}: cannot be opened ({error.strerror})") from error

    def characters(self) -> BinaryIO:
        """The text as UTF-8 without a mark: as it is, or from UTF-16 with one. Bytes are not checked here."""
        return decoding.recode_stream(self.stream(), b"" if self.start else self._head(), self.origin)

    def encoding(self) -> str:
        """`utf-8`, or what the file's mark says: `utf-16-le`, `utf-16-be`. Raises UserError for another."""
        return decoding.detect_encoding(self._head(), self.origin)[0]

    def _head(self) -> bytes:
        with dataclasses.replace(self, start=0).stream() as file:
            return file.read(4)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Number and UTF-8 bytes of each line. Raises UserError for one of more than 64 MB."""
        left = None if self.stop is None else self.stop - self.start
        with self.characters() as file:
            if left is not None:
                # The mark that is passed over is of the first part.
                left -= file.tell() - self.start
            for number, line in decoding.bounded_lines(file, self.first, self.origin):
                if left is not None:
                    if left <= 0:
                        return
                    left -= len(line)
                yield number, line

    def text_lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of each line. Raises UserError with file, line and offset where it is not UTF-8."""
        offset = self.start + (0 if self.start else self._mark())
        for number, line in self.lines():
            yield number, decoding.decode_text(line, self.origin, number, offset)
            offset += len(line)

    def _mark(self) -> int:
        return decoding.detect_encoding(self._head(), self.origin)[1]

    def text(self, most: int = LARGEST, instead: str = "cut it into smaller files") -> str:
        """The content as text of at most `most` bytes; `instead` says what to do with a larger one.

        Raises UserError with file and offset where it is not UTF-8, and where it is larger.
        """
        with self.characters() as file:
            found = file.read(most + 1)
        if len(found) > most:
            raise UserError(
                f"{self.origin}: above {most >> 20} MB, too large to be read as one text; {instead}"
            )
        return decoding.decode_text(found, self.origin, offset=self._mark())

    def items(self) -> Iterator[SourceRecord]:
        """The objects of a JSON Lines file, a JSON array, a table of CSV, TSV or Parquet, one at a time.

        Raises UserError with the file and the line, item or row where one is broken.
        """
        for item in self.all_items():
            if isinstance(item, BrokenItem):
                raise UserError(item.fault)
            yield item

    def all_items(self) -> Iterator[SourceRecord | BrokenItem]:
        """Yield the objects as `items` does, and a BrokenItem in the place of one that is broken.

        Raises:
            UserError: The file is broken as a whole: what follows the broken place cannot be found.
        """
        for item in self._all_items():
            if self.ignored and isinstance(item, SourceRecord):
                kept = {name: value for name, value in item.values.items() if name not in self.ignored}
                item = SourceRecord(kept, item.where)
            yield item

    def _all_items(self) -> Iterator[SourceRecord | BrokenItem]:
        container = self.container
        if container == "lines":
            yield from self._line_items()
        elif container == "json":
            with self.characters() as file:
                yield from (_make_item(*found) for found in read_objects(file, self.origin))
        elif container == "parquet":
            with self.stream() as file, on_disk(file) if self.packing else nullcontext(file) as table:
                yield from (SourceRecord(*found) for found in read_parquet(table, self.origin))
        else:
            delimiter = "\t" if container == "tsv" else ","
            yield from (_make_item(*found) for found in read_table(self.text_lines(), delimiter, self.origin))

    def _line_items(self) -> Iterator[SourceRecord | BrokenItem]:
        offset = self.start + (0 if self.start else self._mark())
        for number, line in self.lines():
            where = f"{self.origin}, line {number}"
            try:
                # Files that were joined have the mark of each at the beginning of a line.
                text = decoding.decode_text(line, self.origin, number, offset).lstrip("\ufeff")
                if text.strip():
                    yield SourceRecord(read_object(text, where), where)
            except UserError as error:
                yield BrokenItem(where, str(error))
            offset += len(line)

    def document(self) -> Any:
        """The whole of a JSON file as one value. Raises UserError where it is none."""
        return read_json(self.text(), self.origin)

    def parts(self, size: int) -> list[SourceFile]:
        """The file as parts of about `size` bytes that begin where lines do, found in one pass over it.

        A file stays whole whose lines are no items by themselves, or that is packed, in memory or in UTF-16.
        """
        if self.path is None or self.packing or self.container != "lines" or self.encoding() != "utf-8":
            return [self]
        parts: list[SourceFile] = []
        start, first, line, at = 0, 1, 1, 0
        file, whole = self._open()
        with file:
            if whole <= size:
                return [self]
            while block := file.read(decoding.BLOCK):
                place = 0
                while (end := block.find(b"\n", max(place, start + size - 1 - at))) >= 0:
                    line += block.count(b"\n", place, end + 1)
                    place = end + 1
                    parts.append(dataclasses.replace(self, start=start, stop=at + place, first=first))
                    start, first = at + place, line
                line += block.count(b"\n", place)
                at += len(block)
        if start < at:
            parts.append(dataclasses.replace(self, start=start, stop=at, first=first))
        return parts if len(parts) > 1 else [self]
