"""Bytes as they are packed and written become UTF-8, a block at a time, within bounds."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from model.errors import UserError

LONGEST = 64 << 20  # bytes of a line, an item, a row or a document
LARGEST = 256 << 20  # bytes of a file that is read as one value
RATIO, UNSUSPECTED = 200, 64 << 20  # text packs 3 to 20 times smaller; below this nobody is harmed
BLOCK = 1 << 18
SUFFIXES = (".gz", ".zst")
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class _Unpacked(io.RawIOBase):
    """What a .gz or .zst unpacks to, within bounds."""

    def __init__(self, packed: BinaryIO, suffix: str, size: int, origin: str) -> None:
        self.packed, self.origin, self.count = packed, origin, 0
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
                "it is cut off or damaged, fetch or pack it again"
            ) from error
        self.count += len(found)
        if self.count > self.most:
            raise UserError(
                f"{self.origin}: unpacks to more than {self.most} bytes, over {RATIO} times its size, as zip "
                "bombs do; if it is none, unpack it yourself"
            )
        target[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self.packed.close()
        super().close()


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8. Raises UserError with the offset where it is no UTF-16."""

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
                raise UserError(f"{self.origin}: not UTF-16 at byte {place}; save it as UTF-8") from error
            self.left = text.encode()
        found, self.left = self.left[: len(target)], self.left[len(target) :]
        target[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self.file.close()
        super().close()


def open_unpacked(packed: BinaryIO, suffix: str, size: int, origin: str) -> BinaryIO:
    """The content of a packed file of `size` bytes, by its suffix: .gz or .zst.

    Reading it raises UserError where it is damaged, cut off, or a bomb: more than 64 MB and more than 200
    times what it is packed.
    """
    return io.BufferedReader(_Unpacked(packed, suffix, size, origin), BLOCK)


def detect_encoding(head: bytes, origin: str) -> tuple[str, int]:
    """The encoding that a file's first four bytes tell, and how many of them are its mark.

    Raises UserError for UTF-32, and for UTF-16 that has no mark.
    """
    wide = head[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
    if wide or (len(head) > 1 and 0 in head[:2] and head[:2].strip(b"\0")):
        raise UserError(f"{origin}: {'UTF-32' if wide else 'UTF-16 without a mark'}; save it as UTF-8")
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name, len(mark)
    return "utf-8", 0


def recode_stream(file: BinaryIO, head: bytes, origin: str) -> BinaryIO:
    """A stream of text as UTF-8 without a mark, whatever encoding its first four bytes tell."""
    name, size = detect_encoding(head, origin)
    if name == "utf-8":
        file.read(size)
        return file
    # The decoder would give the mark as a character; read here it still counts as two bytes.
    stream = _Recoded(file, name, origin)
    stream.count += len(file.read(size))
    return io.BufferedReader(stream, BLOCK)


def bounded_lines(file: BinaryIO, first: int, origin: str) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line. Raises UserError for one of more than 64 MB, before it is read whole."""
    number = first
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise UserError(f"{origin}, line {number}: longer than {LONGEST >> 20} MB; cut it into lines")
        yield number, line
        number += 1


def decode_text(content: bytes, origin: str, number: int = 0, offset: int = 0) -> str:
    """Bytes as text: line `number`, if any, the first byte of which is at `offset`.

    Raises UserError with the line and the byte where they are not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        where = f"{origin}, line {number}" if number else origin
        raise UserError(f"{where}: not UTF-8 at byte {offset + error.start}; save it as UTF-8") from error
