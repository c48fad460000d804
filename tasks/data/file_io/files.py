"""Read the files of a source as text, as lines, or as objects, regardless of their compression."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from model.errors import UserError, file_error, one_line_path
from tasks.data.file_io import decoding
from tasks.data.file_io.decoding import LARGEST
from tasks.data.file_io.json_stream import has_more_keys, read_json, read_object, read_objects
from tasks.data.file_io.parquet_tables import on_disk, read_parquet
from tasks.data.file_io.survey_header import SURVEY_HEADER, holds_import_ids
from tasks.data.file_io.tables import (
    MOST_COLUMNS,
    REPEATED_HEADER,
    DelimiterError,
    explain_both,
    find_delimiter,
    read_table,
    repeats_header,
)

Container = Literal["lines", "json", "csv", "tsv", "parquet"]
CONTAINERS: dict[str, Container] = {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet",
}  # fmt: skip


def unpacked_suffix(name: str) -> str:
    """Return a file's suffix in lower case without that of its compression: `.jsonl` for a.jsonl.gz."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in decoding.SUFFIXES else path.suffix


def unpacked_stem(name: str) -> str:
    """Return a file's name without its suffix and that of its compression: `a` for a.jsonl.gz."""
    ending = unpacked_suffix(name)
    return name[: name.lower().rfind(ending)] if ending else name


class SourceRecord(NamedTuple):
    """An object of a file, and its place for messages: the file with a line, an item or a row."""

    values: dict[str, Any]
    where: str

    def value(self, name: str) -> Any:
        """Return the value of a key. Raise UserError with the existing keys if it is missing."""
        if name not in self.values:
            there = ", ".join(map(str, self.values)) or "none"
            raise UserError(f"{self.where}: no key or column {name}; there are {there}")
        return self.values[name]


class BrokenItem(NamedTuple):
    """An object of a file that could not be read: its place, the reason as a sentence, and known cells."""

    where: str
    fault: str
    values: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def _make_item(values: dict[str, Any], where: str, fault: str) -> SourceRecord | BrokenItem:
    return BrokenItem(where, fault, values) if fault else SourceRecord(values, where)


def _refuse_wide(item: SourceRecord) -> SourceRecord | BrokenItem:
    """Return an object, or why it is not read if it has more keys than a table may have columns."""
    fault = explain_wide(item.values, item.where)
    return BrokenItem(item.where, fault) if fault else item


def _is_header_again(item: SourceRecord | BrokenItem) -> bool:
    if isinstance(item, SourceRecord):
        return repeats_header(item.values)
    return item.fault.endswith(REPEATED_HEADER)


def explain_wide(values: dict[str, Any], where: str) -> str:
    """Return why an object is not read if it has more keys than a table may have columns; else empty."""
    if not has_more_keys(values, MOST_COLUMNS):
        return ""
    return (
        f"{where}: more than {MOST_COLUMNS:,} keys, but at most {MOST_COLUMNS:,} are read in an object; "
        "remove unneeded keys, or set the key that holds them to `ignore` under `fields`"
    )


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, on disk (`path`) or in memory (`content`), or a part of it.

    A part has the lines that begin in [start, stop) bytes, and `first` is the number of the first one.
    `origin` is the file's name in messages. Its suffixes give the container: .jsonl, .json, .csv, .tsv or
    .parquet, each also with .gz or .zst. The object can be sent to another process. Keys in `ignored` are
    left out of its objects. `delimiter` is that of a table if it is known; empty: by the suffix and the text.
    """

    origin: str
    content: bytes = b""
    path: Path | None = None
    start: int = 0
    stop: int | None = None
    first: int = 1
    ignored: tuple[str, ...] = ()
    delimiter: str = ""

    def __post_init__(self) -> None:
        """Write control characters of the name as escapes, as each message names the file by it."""
        object.__setattr__(self, "origin", one_line_path(self.origin))

    @property
    def packing(self) -> str:
        """`.gz`, `.zst`, or empty for a file that is not compressed."""
        last = Path(self.origin).suffix.lower()
        return last if last in decoding.SUFFIXES else ""

    @property
    def container(self) -> Container:
        """The container of the file's objects by its suffix, or else by its first character.

        `json` is an array, or objects one after another.
        """
        if (told := CONTAINERS.get(unpacked_suffix(self.origin))) is not None:
            return told
        try:
            with self.characters() as file:
                while (found := file.read(1)).isspace():
                    pass
        except decoding.EncodingError:
            # The reader says what is wrong.
            return "lines"
        return "json" if found == b"[" else "lines"

    def stream(self) -> BinaryIO:
        """Return the decompressed bytes from the start of the part.

        Raises UserError if the file does not exist. Reading raises UserError for a damaged file or a bomb.
        """
        file, size = self._open()
        if self.packing:
            return decoding.open_unpacked(file, self.packing, size, self.origin)
        file.seek(self.start)
        return file

    def _open(self) -> tuple[BinaryIO, int]:
        """Return the raw bytes as a stream, and their number."""
        if self.path is None:
            # Members of archives are in memory, as they are never unpacked to disk.
            return io.BytesIO(self.content), len(self.content)
        try:
            return self.path.open("rb"), self.path.stat().st_size
        except OSError as error:
            raise file_error(f"{self.origin}:", "cannot be opened", error) from error

    def characters(self) -> BinaryIO:
        """Return the text as UTF-8 without a byte order mark. UTF-16 is converted, UTF-8 is not validated."""
        return decoding.recode_stream(self.stream(), b"" if self.start else self._head(), self.origin)

    def encoding(self) -> str:
        """Return `utf-8`, `utf-16-le` or `utf-16-be` by the file's mark. Raise UserError for others."""
        return decoding.detect_encoding(self._head(), self.origin)[0]

    def _head(self) -> bytes:
        with dataclasses.replace(self, start=0).stream() as file:
            return file.read(decoding.HEAD)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the UTF-8 bytes of each line. Raise UserError for one of more than 64 MB."""
        left = None if self.stop is None else self.stop - self.start
        with self.characters() as file:
            if left is not None:
                # The first part begins with the mark, which `characters` has already skipped.
                left -= file.tell() - self.start
            for number, line in decoding.bounded_lines(file, self.first, self.origin):
                if left is not None:
                    if left <= 0:
                        return
                    left -= len(line)
                yield number, line

    def text_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the text of each line. Raise UserError with the place of invalid UTF-8."""
        offset = self.start + (0 if self.start else self._mark())
        for number, line in self.lines():
            yield number, decoding.decode_text(line, self.origin, number, offset)
            offset += len(line)

    def _mark(self) -> int:
        return decoding.detect_encoding(self._head(), self.origin)[1]

    def text(self, most: int = LARGEST, instead: str = "split it into smaller files") -> str:
        """Return the content as one text.

        Args:
            most: The largest size in bytes.
            instead: Advice for a file that is larger.

        Raises:
            UserError: The content is larger, or not UTF-8.
        """
        with self.characters() as file:
            found = file.read(most + 1)
        if len(found) > most:
            raise UserError(f"{self.origin}: above {most >> 20} MB, too large for one text; {instead}")
        return decoding.decode_text(found, self.origin, offset=self._mark())

    def items(self) -> Iterator[SourceRecord]:
        """Yield the objects of a JSON Lines file, a JSON array, or a table (CSV, TSV or Parquet).

        Raises UserError with the file and the line, item or row of a damaged one.
        """
        for item in self.all_items():
            if isinstance(item, BrokenItem):
                raise UserError(item.fault)
            yield item

    def all_items(self, left_out: Counter[str] | None = None) -> Iterator[SourceRecord | BrokenItem]:
        """Yield the objects as `items` does, with a BrokenItem in the place of each damaged one.

        Args:
            left_out: Counts the rows of a survey tool's header, which are no objects of the file.

        Raises:
            UserError: The file is damaged so that the objects after the damage cannot be found.
        """
        # The reader of a table counts its columns once.
        json = self.container in ("lines", "json")
        for item in self._without_survey_header(Counter() if left_out is None else left_out):
            # Also in JSON and Parquet, into which a joined table may have been converted.
            if isinstance(item, SourceRecord) and repeats_header(item.values):
                item = BrokenItem(item.where, f"{item.where}: {REPEATED_HEADER}")
            if self.ignored and isinstance(item, SourceRecord):
                kept = {name: value for name, value in item.values.items() if name not in self.ignored}
                item = SourceRecord(kept, item.where)
            if json and isinstance(item, SourceRecord):
                item = _refuse_wide(item)
            yield item

    def _without_survey_header(self, left_out: Counter[str]) -> Iterator[SourceRecord | BrokenItem]:
        """Yield the objects without a row of import ids, and without the questions' texts before it."""
        held: SourceRecord | None = None
        # Exports that were joined repeat the header, so the texts may follow it anywhere.
        is_below_header = True
        items = self._all_items()
        while True:
            try:
                item = next(items, None)
            except UserError:
                yield from [held] if held else []
                raise
            if isinstance(item, SourceRecord) and holds_import_ids(item.values):
                left_out[SURVEY_HEADER] += 2 if held else 1
                held = None
                continue
            yield from [held] if held else []
            if item is None:
                return
            held = item if is_below_header and isinstance(item, SourceRecord) else None
            is_below_header = _is_header_again(item)
            yield from [] if held else [item]

    def _all_items(self) -> Iterator[SourceRecord | BrokenItem]:
        container = self.container
        if container == "lines":
            yield from self._line_items()
        elif container == "json":
            with self.characters() as file:
                yield from (_make_item(*found) for found in read_objects(file, self.origin))
        elif container == "parquet":
            # Parquet has its index at the end, so a compressed file must be decompressed to disk first.
            with self.stream() as file, on_disk(file) if self.packing else nullcontext(file) as table:
                yield from (_make_item(*found) for found in read_parquet(table, self.origin))
        else:
            delimiter = self._expected_delimiter()
            rows = read_table(
                self.text_lines(), self.delimiter or self.other_delimiter() or delimiter, self.origin
            )
            try:
                yield from (_make_item(*found) for found in rows)
            except (DelimiterError, decoding.EncodingError) as error:
                with self.characters() as file:
                    raise UserError(
                        explain_both(error, file.read(decoding.BLOCK), delimiter, self.origin)
                    ) from error

    def _expected_delimiter(self) -> str:
        return "\t" if self.container == "tsv" else ","

    def other_delimiter(self) -> str:
        """Return the delimiter of a table if it is clearly another than its name says; else empty.

        The whole file is read if its header has one column with another delimiter in it.
        """
        if self.container not in ("csv", "tsv"):
            return ""
        expected = self._expected_delimiter()
        try:
            next(read_table(self.text_lines(), expected, self.origin), None)
        except DelimiterError:
            return find_delimiter(self.text_lines, expected, self.origin)
        except UserError:
            # Reading raises the same error where it is reported.
            return ""
        return ""

    def _line_items(self) -> Iterator[SourceRecord | BrokenItem]:
        offset = self.start + (0 if self.start else self._mark())
        for number, line in decoding.split_objects(self.lines()):
            where = f"{self.origin}, line {number}"
            try:
                # Files that were concatenated have the mark of each at the beginning of a line.
                text = decoding.decode_text(line, self.origin, number, offset).lstrip("\ufeff")
                if text.strip():
                    yield SourceRecord(read_object(text, where), where)
            except UserError as error:
                yield BrokenItem(where, str(error))
            offset += len(line)

    def document(self) -> Any:
        """Return the whole JSON file as one value. Raise UserError if it is invalid."""
        return read_json(self.text(), self.origin)

    def parts(self, size: int) -> list[SourceFile]:
        """Return the file as parts of about `size` bytes that begin at lines, found in one pass.

        A file stays whole if its lines are no separate items, or if it is compressed, in memory or UTF-16.
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
                # Line ends are counted in whole blocks by `bytes.count`, since a loop over lines would be far
                # slower.
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
