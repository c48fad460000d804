"""Parse Markdown: each file is one document, unchanged.

Headings, lists, emphasis and code stay, because a model learns from them to write Markdown, as assistants are
asked to. Plain text rendered from a table or from code is worse. Front matter is about the document, so it is
no part of the text. Its keys are read as those of a row: `deleted: true` leaves the document out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.data.file_io.decoding import LONGEST, EncodingError, unify_line_ends
from tasks.data.file_io.files import SourceFile, SourceRecord, unpacked_suffix
from tasks.data.parsing.base import EMPTY_FILES, FileSample, Format, ParseOptions
from tasks.data.parsing.row_stream import Keys, item_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Fault, ParsedRow, text_row
from tasks.data.values.front_matter import split_front_matter

_TEXT = "(the document)"  # the key of the text beside those of the front matter; no YAML key looks so


def stream_rows(
    files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts
) -> Iterator[ParsedRow | Fault]:
    """Yield a Text for each file with more than front matter, and a Fault for one that is not UTF-8.

    Raises UserError for a document of more than 64 MB.
    """
    for file in files:
        try:
            whole = file.text(LONGEST)
        except EncodingError as error:
            yield Fault(file.origin, str(error), "text")
            continue
        front, rest = split_front_matter(unify_line_ends(whole))
        text = rest.strip()
        if not text:
            tally.left_out[EMPTY_FILES] += 1
        elif front:
            item = SourceRecord({**front, _TEXT: text}, file.origin)
            yield from item_rows(item, _document, _KEYS, reading, tally, "text")
        else:
            yield ParsedRow(text_row(text, reading.source), file.origin)


def _document(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    yield ParsedRow(text_row(values[_TEXT], reading.source), where)


_KEYS = Keys(lambda values, reading: frozenset((_TEXT,)), {})


def _detect_mismatch(sample: FileSample) -> str:
    return "" if unpacked_suffix(sample.name) in (".md", ".markdown") else "not a .md file"


FORMAT = Format("markdown", stream_rows, "file", _detect_mismatch)
