"""Decompress and decode files to UTF-8, a block at a time and within bounds."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from model.errors import UserError

LONGEST = 64 << 20  # bytes of a line, an item, a row or a document
LARGEST = 256 << 20  # bytes of a file that is read as one value
RATIO, UNSUSPECTED = 200, 64 << 20  # text compresses 3 to 20 times; up to 64 MB are harmless
BLOCK = 1 << 18
# A line end of Windows that was converted twice has two carriage returns.
_LINE_END = re.compile(r"\r*\n|\r")
# A carriage return between two objects ends a line of JSON Lines, as no text in JSON may hold it.
_OBJECT_END = re.compile(rb"\}[ \t]*\r[\r \t]*(?=\{)")
SUFFIXES = (".gz", ".zst")
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

HEAD = 264  # bytes that show what a file is: the mark of a tar archive is at byte 257
_UNPACK = "unpack it"
# The advice about a compressed file without its suffix, by the suffix.
_PACKED = {f"add {suffix} to its name": suffix for suffix in SUFFIXES}
# Signatures of files that are no text: their offset, and what to do with each. Read as text, the first row
# would be lost in the binary header, and the rest learned.
_BINARY = (
    (b"PK\x03\x04", 0, "a zip archive, as .xlsx and .docx are", f"{_UNPACK}, or save a sheet as CSV"),
    (b"ustar", 257, "a tar archive", _UNPACK),
    (b"\xfd7zXZ\x00", 0, "compressed with xz", f"{_UNPACK}, or pack it with gzip or Zstandard"),
    (b"1AY&SY", 4, "compressed with bzip2", f"{_UNPACK}, or pack it with gzip or Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", 0, "a RAR archive", _UNPACK),
    (b"\x1f\x8b\x08", 0, "compressed with gzip", "add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed with Zstandard", "add .zst to its name"),
    (b"PAR1\x15", 0, "a Parquet file", "end its name in .parquet"),
    (b"ARROW1\x00\x00", 0, "an Arrow or Feather file", "write it as Parquet"),
    (b"FEA1", 0, "a Feather file", "write it as Parquet"),
    (b"SQLite format 3\x00", 0, "an SQLite database", "export its tables as CSV or JSON Lines"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "an old Office document", "save it as CSV or as text"),
    (b"%PDF-", 0, "a PDF", "save its text"),
    (b"{\\rtf", 0, "an RTF document", "save it as plain text"),
    (b"\x93NUMPY", 0, "a NumPy array", "write its rows as JSON Lines"),
    (b"\x80\x04\x95", 0, "a pickle, which can run code", "write its rows as JSON Lines"),
    (b"\x80\x05\x95", 0, "a pickle, which can run code", "write its rows as JSON Lines"),
)


class EncodingError(UserError):
    """Bytes that are neither UTF-8 nor marked UTF-16."""


class _Unpacked(io.RawIOBase):
    """The decompressed stream of a .gz or .zst file, within bounds."""

    def __init__(self, packed: BinaryIO, suffix: str, size: int, origin: str) -> None:
        self.packed, self.origin, self.count = packed, origin, 0
        # Measured while reading, because sizes in the headers of compressed files can be forged.
        self.most = max(UNSUSPECTED, RATIO * size)
        self.inner: Any
        if suffix == ".gz":
            self.inner = gzip.GzipFile(fileobj=packed)
        else:
            import pyarrow

            self.inner = pyarrow.CompressedInputStream(pyarrow.PythonFile(packed, "r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            found = self.inner.read(len(target))
        except (EOFError, OSError, zlib.error) as error:
            raise UserError(
                f"{self.origin}: cannot be unpacked after {self.count} bytes ({error}); "
                "it is truncated or damaged; download or compress it again"
            ) from error
        self.count += len(found)
        if self.count > self.most:
            raise UserError(
                f"{self.origin}: unpacks to more than {self.most} bytes, over {RATIO} times its "
                "size, like a zip bomb; if it is valid, unpack it yourself"
            )
        target[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self.packed.close()
        super().close()


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8. Raises UserError with the offset of invalid bytes."""

    def __init__(self, file: BinaryIO, encoding: str, origin: str) -> None:
        self.file, self.origin = file, origin
        self.decode = codecs.getincrementaldecoder(encoding)()
        self.count, self.left, self.ended = 0, b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self.left and not self.ended:
            block = self.file.read(BLOCK)
            self.count += len(block)
            self.ended = not block
            try:
                text = self.decode.decode(block, self.ended)
            except UnicodeDecodeError as error:
                place = self.count - len(error.object) + error.start
                raise EncodingError(f"{self.origin}: not UTF-16 at byte {place}; save it as UTF-8") from error
            # `text` is whole characters: the incremental decoder keeps half a character for the next block.
            self.left = text.encode()
        found, self.left = self.left[: len(target)], self.left[len(target) :]
        target[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self.file.close()
        super().close()


def open_unpacked(packed: BinaryIO, suffix: str, size: int, origin: str) -> BinaryIO:
    """Return the decompressed stream of a file of `size` bytes with the suffix .gz or .zst.

    Reading raises UserError for a file that is damaged, truncated, or a bomb: more than 64 MB and more than
    200 times its compressed size.
    """
    return io.BufferedReader(_Unpacked(packed, suffix, size, origin), BLOCK)


def detect_encoding(head: bytes, origin: str) -> tuple[str, int]:
    """Return the encoding of a file from its first HEAD bytes, and the length of its byte order mark.

    Raises UserError for UTF-32, for UTF-16 without a mark, and for archives and other files that are no text.
    """
    for signature, offset, what, instead in _BINARY:
        if head.startswith(signature, offset):
            # The name of a file says how its outer layer is compressed.
            if instead in _PACKED and Path(origin).suffix.lower() in SUFFIXES:
                raise UserError(
                    f"{origin}: it is compressed twice; unpack it once, and end the name of the result in "
                    f"{_PACKED[instead]}"
                )
            raise UserError(f"{origin}: it is {what}, not text; {instead}")
    # UTF-32's mark begins with that of UTF-16, so it is tested first. A zero byte beside a non-zero one at
    # the start is an ASCII character in UTF-16.
    wide = head[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
    if wide or (len(head) > 1 and 0 in head[:2] and head[:2].strip(b"\0")):
        raise EncodingError(f"{origin}: {'UTF-32' if wide else 'UTF-16 without a mark'}; save it as UTF-8")
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    return "utf-8", 0


def recode_stream(file: BinaryIO, head: bytes, origin: str) -> BinaryIO:
    """Return a stream as UTF-8 without a mark, by the encoding of its first HEAD bytes."""
    name, size = detect_encoding(head, origin)
    if name == "utf-8":
        file.read(size)
        return file
    # The decoder would return the mark as a character. It is skipped here, and its two bytes are counted.
    stream = _Recoded(file, name, origin)
    stream.count += len(file.read(size))
    return io.BufferedReader(stream, BLOCK)


def bounded_lines(file: BinaryIO, first: int, origin: str) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each line.

    Raises UserError for a line of more than 64 MB, before it is read completely.
    """
    number = first
    # The limit is passed to `readline`, as a file without line ends would otherwise fill the memory.
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise UserError(f"{origin}, line {number}: longer than {LONGEST >> 20} MB; split it into lines")
        yield number, line
        number += 1


def unify_line_ends(text: str) -> str:
    """Return a text whose lines all end in a line feed, also those that end in a carriage return alone."""
    return _LINE_END.sub("\n", text) if "\r" in text else text


def split_at_returns(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line, also of those that end in a carriage return alone."""
    more = 0
    for number, line in lines:
        parts = re.findall(r"[^\n]*\n|[^\n]+", unify_line_ends(line)) if "\r" in line else [line]
        for index, part in enumerate(parts):
            yield number + more + index, part
        more += len(parts) - 1


def split_objects(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of JSON Lines, also of a file whose lines end in a carriage return alone."""
    more = 0
    for number, line in lines:
        start = 0
        if line.find(b"\r", 0, len(line) - 2) >= 0:
            for found in _OBJECT_END.finditer(line):
                yield number + more, line[start : found.end()]
                start, more = found.end(), more + found[0].count(b"\r")
        yield number + more, line[start:]


def decode_text(content: bytes, origin: str, number: int = 0, offset: int = 0) -> str:
    """Return bytes as text.

    Args:
        content: The bytes.
        origin: The name of the file, for messages.
        number: The line; 0 for none.
        offset: The offset of the first byte in the file.

    Raises:
        UserError: The bytes are not UTF-8. The message has the line and the byte.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        where = f"{origin}, line {number}" if number else origin
        at = offset + error.start
        raise EncodingError(f"{where}: not UTF-8 at byte {at}; save it as UTF-8") from error
