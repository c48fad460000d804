"""Find what one document of a user's text files is: a file, a block between blank lines, or a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from tasks.data.file_io.decoding import EncodingError
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.base import DocumentUnit

_FEW_FILES = 50  # fewer files are split, so that some documents can be held out
_FEW_BLOCKS = 20
_LINES_A_BLOCK = 10
_READ = 5000  # lines of each file
_SENTENCES = 0.9  # the least share of lines that are one sentence
# A line that ends as a sentence does, perhaps with a quote or a bracket after it.
_END = re.compile(r"[.!?…。！？؟।][\"'”’»«)\]]*\s*\Z")
# The end of a sentence inside a line, before the beginning of another one.
_INSIDE = re.compile(r"[.!?…][\"'”’»)]*\s+[A-ZÀ-ÞА-Я]|[。！？]\s*[^\s”’」』)）]")


class UnitChoice(NamedTuple):
    """What one document is. `reason` says why it is a line; empty for the others."""

    unit: DocumentUnit
    reason: str = ""


def choose_unit(files: Sequence[SourceFile]) -> UnitChoice:
    """Return what one document of a source of plain text files is.

    Prose of few files is split at blank lines. Where there are hardly any and nearly all lines are one
    sentence, each line is a document: a hard-wrapped text ends few of its lines with a sentence.

    Args:
        files: The files.
    """
    if len(files) >= _FEW_FILES:
        return UnitChoice("file")
    lines = blocks = sentences = 0
    for file in files:
        is_inside = False
        for line in _read_lines(file):
            filled = bool(line)
            blocks += filled and not is_inside
            lines += filled
            sentences += filled and bool(_END.search(line)) and not _INSIDE.search(line)
            is_inside = filled
    few = 0 < blocks < _FEW_BLOCKS and lines >= _LINES_A_BLOCK * blocks
    if not few or sentences < _SENTENCES * lines:
        return UnitChoice("paragraph")
    return UnitChoice(
        "line",
        f"Each line is a document: {sentences:,} of the {lines:,} lines that were read are one sentence, and "
        "there is hardly a blank line between them. If they belong together, write document_unit: file.",
    )


def _read_lines(file: SourceFile) -> Iterator[str]:
    """Yield the first lines of a file without white space around them; up to one that cannot be decoded."""
    try:
        for _, line in islice(file.text_lines(), _READ):
            yield line.strip()
    except EncodingError:
        # The reader says what is wrong.
        return
