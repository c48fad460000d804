"""Read the first megabytes of a file up to the end of a row, from which `init` estimates the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.data.file_io.decoding import LONGEST, EncodingError
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.parsing.base import Format

_TABLES = (".csv", ".tsv", ".tab")
_WHOLE = (".json", ".parquet")  # cannot be cut after a line


def file_batches(
    known: Format, files: Sequence[SourceFile], whole_documents: bool, most: int
) -> Iterator[tuple[list[SourceFile], int]]:
    """Yield the files one by one with their sizes, or all at once if the format reads a source as a whole.

    Of a large file only the head is yielded, with the size of the head.

    Args:
        known: The format.
        files: Files on disk.
        whole_documents: Whether each file is one document, of which no part can be read.
        most: The bytes of a head.
    """
    sizes = [file.path.stat().st_size if file.path else len(file.content) for file in files]
    if known.unit == "source":
        yield list(files), sum(sizes)
        return
    for file, size in zip(files, sizes, strict=True):
        cut = (
            size > most
            and not file.packing
            and not whole_documents
            and unpacked_suffix(file.origin) not in _WHOLE
        )
        head = _read_head(file, most) if cut else None
        yield ([file], size) if head is None else ([SourceFile(file.origin, content=head)], len(head))


def _read_head(file: SourceFile, most: int) -> bytes | None:
    """Return the first `most` bytes of a file up to the end of its last whole row.

    None if no row ends in them: a longer row is read as it is, and so is UTF-16, whose characters could be
    cut in half.
    """
    try:
        if file.encoding() != "utf-8":
            return None
    except EncodingError:
        # The reader says what is wrong.
        return None
    with file.stream() as stream:
        head = stream.read(most)
        if b"\n" not in head:
            # A row is read to its end, up to the size that a run accepts.
            head += stream.readline(LONGEST)
    end = head.rfind(b"\n") + 1
    if unpacked_suffix(file.origin) in _TABLES:
        end = _row_end(head, end)
        # The header alone is no row.
        end = end if head.count(b"\n", 0, end) > 1 else 0
    return head[:end] or None


def _row_end(head: bytes, end: int) -> int:
    """Return the last line end before `end` that is outside quotes; 0 if there is none.

    A line end inside a quoted cell has an odd number of quotes before it.
    """
    odd = head.count(b'"', 0, end) % 2
    while odd and end:
        begins = head.rfind(b"\n", 0, end - 1) + 1
        odd ^= head.count(b'"', begins, end) % 2
        end = begins
    return end
