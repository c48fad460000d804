"""Parse plain text: each file is one document, or each paragraph between blank lines, or each line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.data.file_io.decoding import LONGEST, EncodingError, split_at_returns, unify_line_ends
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.parsing.base import EMPTY_FILES, FileSample, Format, ParseOptions
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Fault, ParsedRow, text_row


def stream_rows(
    files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts
) -> Iterator[ParsedRow | Fault]:
    """Yield a Text for each file, paragraph or line, as `document_unit` says, that is not blank.

    A file that is not UTF-8 becomes a Fault. Its paragraphs or lines before the wrong byte are read.

    Raises UserError for a document of more than 64 MB.
    """
    for file in files:
        empty = True
        try:
            for text, where in _read_documents(file, reading):
                if text:
                    empty = False
                    yield ParsedRow(text_row(text, reading.source), where)
        except EncodingError as error:
            empty = False
            rest = "; the file is read up to there" if reading.document_unit != "file" else ""
            yield Fault(file.origin, f"{error}{rest}", "text")
        if empty:
            tally.left_out[EMPTY_FILES] += 1


def _read_documents(file: SourceFile, reading: ParseOptions) -> Iterator[tuple[str, str]]:
    if reading.document_unit == "paragraph":
        yield from _read_paragraphs(file)
    elif reading.document_unit == "line":
        for number, line in split_at_returns(file.text_lines()):
            yield line.strip(), f"{file.origin}, line {number}"
    else:
        whole = file.text(LONGEST, "document_unit: paragraph makes a document of every paragraph")
        yield unify_line_ends(whole).strip(), file.origin


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
