"""Plain text: each file one document, or what stands between blank lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.data.formats.base import Format, Reading, Sample
from tasks.data.formats.decoding import LONGEST
from tasks.data.formats.files import File, suffix
from tasks.data.formats.skip_counts import Tally
from tasks.data.records import Found, text_row


def stream(files: Sequence[File], reading: Reading, tally: Tally) -> Iterator[Found]:
    """A Text a file, or with `documents: paragraph` one a paragraph, that holds more than white space.

    Raises UserError for a document of more than 64 MB.
    """
    for file in files:
        if reading.documents == "paragraph":
            found = _paragraphs(file)
        else:
            whole = file.text(LONGEST, "documents: paragraph makes a document of every paragraph")
            found = iter([(whole.replace("\r\n", "\n").strip(), file.origin)])
        for text, where in found:
            if text:
                yield Found(text_row(text, reading.source), where)


def _paragraphs(file: File) -> Iterator[tuple[str, str]]:
    held: list[str] = []
    begins = size = 0
    for number, line in file.text_lines():
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
            yield _joined(held), f"{file.origin}, line {begins}"
            held, begins, size = [], 0, 0
    if held:
        yield _joined(held), f"{file.origin}, line {begins}"


def _joined(lines: list[str]) -> str:
    return "".join(lines).replace("\r\n", "\n").strip()


def _fits(sample: Sample) -> str:
    return "" if suffix(sample.name) == ".txt" else "not a .txt file"


FORMAT = Format("plain", stream, "file", _fits)
