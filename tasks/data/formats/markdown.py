"""Parse Markdown: each file is one document, unchanged.

Headings, lists, emphasis and code stay, because a model learns from them to write Markdown, as assistants are
asked to. Plain text rendered from a table or from code is worse. Front matter is about the document, so it is
removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tasks.data.file_io.decoding import LONGEST, EncodingError, unify_line_ends
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.parsing.base import EMPTY_FILES, FileSample, Format, ParseOptions
from tasks.data.parsing.skip_counts import SkipCounts
from tasks.data.records import Fault, ParsedRow, text_row

# YAML between lines of ---, or TOML between lines of +++. A first line of --- that is followed by anything
# but a key or a comment is a horizontal rule, and text follows.
_FRONT = re.compile(
    r"\A---[ \t]*\n(?=---|[\w\"'-]+[ \t]*:|#)(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
    r"|\A\+\+\+[ \t]*\n(?:.*\n)*?\+\+\+[ \t]*(?:\n|\Z)"
)


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
        if text := without_front_matter(unify_line_ends(whole)).strip():
            yield ParsedRow(text_row(text, reading.source), file.origin)
        else:
            tally.left_out[EMPTY_FILES] += 1


def without_front_matter(text: str) -> str:
    """Return the text after its front matter, or the whole text if there is none or it has no end."""
    return _FRONT.sub("", text, count=1)


def _detect_mismatch(sample: FileSample) -> str:
    return "" if unpacked_suffix(sample.name) in (".md", ".markdown") else "not a .md file"


FORMAT = Format("markdown", stream_rows, "file", _detect_mismatch)
