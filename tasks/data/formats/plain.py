"""Parse plain text: each file is one document, or each paragraph between blank lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.data.file_io.decoding import LONGEST, split_at_returns, unify_line_ends
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.skip_counts import SkipCounts
from tasks.data.records import ParsedRow, text_row


def stream_rows(files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts) -> Iterator[ParsedRow]:
    """Yield a Text for each file, or for each paragraph with `document_unit: paragraph`, that is not blank.

    Raises UserError for a document of more than 64 MB.
    """
    for file in files:
        if reading.document_unit == "paragraph":
            found = _read_paragraphs(file)
        else:
            whole = file.text(LONGEST, "document_unit: paragraph makes a document of every paragraph")
            found = iter([(unify_line_ends(whole).strip(), file.origin)])
        for text, where in found:
            if text:
                yield ParsedRow(text_row(text, reading.source), where)


def _read_paragraphs(file: SourceFile) -> Iterator[tuple[str, str]]:
    held: list[str] = []
    begins = size = 0
    for number, line in split_at_returns(file.text_lines()):
        if line.strip():
            begins = begins or number
            held.append(line)
            size += len(line)
            if size > LONGEST:
                raise UserError(
                    f"{file.origin}, line {begins}: a paragraph of more than {LONGEST >> 20} MB; blank lines "
                    "stand between paragraphs"
                )
        elif held:
            yield _join_lines(held), f"{file.origin}, line {begins}"
            held, begins, size = [], 0, 0
    if held:
        yield _join_lines(held), f"{file.origin}, line {begins}"


def _join_lines(lines: list[str]) -> str:
    return "".join(lines).strip()


def _detect_mismatch(sample: FileSample) -> str:
    return "" if unpacked_suffix(sample.name) == ".txt" else "not a .txt file"


FORMAT = Format("plain", stream_rows, "file", _detect_mismatch)
