"""Define what a format is: a parser, the unit that it reads, and the recognition of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from model.errors import UserError
from tasks.common.aspects import UNNAMED_ASPECT
from tasks.data.file_io.files import SourceFile, SourceRecord
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Fault, ParsedRow
from tasks.data.values.editorial_marks import MarkedTextsUse
from tasks.data.values.field_meanings import Meaning

EMPTY_FILES = "empty files"  # the reason under which files without a row are counted


class ListedVote(NamedTuple):
    """A vote from a list of objects: its key there, as `ratings[].vote`, and its person."""

    key: str
    person: str


DocumentUnit = Literal["file", "paragraph", "line"]


@dataclass(frozen=True)
class ParseOptions:
    """Options of a parser besides the files.

    Attributes:
        source: The name of the source.
        prompt: A text before prompts that are made of a text.
        columns: The file's own keys by the names of the format, as in {"text": "body"}.
        document_unit: Whether a plain file is one document, or each paragraph or line is one.
        aspect: The aspect of labels that name none.
        labelling: The text of a labelling configuration.
        fields: The meaning of keys that no format reads (see tasks/data/values/field_meanings.py).
        marked_texts: Whether rows with an editorial mark on a text are learned; empty: it is asked.
        listed: The votes that listed_votes.py took from lists of a row, by their paths, as `ratings.anna`.
    """

    source: str
    prompt: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    document_unit: DocumentUnit = "file"
    aspect: str = UNNAMED_ASPECT
    labelling: str = ""
    fields: dict[str, Meaning] = field(default_factory=dict)
    marked_texts: MarkedTextsUse = ""
    listed: dict[str, ListedVote] = field(default_factory=dict)

    def told_path(self, path: str) -> str:
        """Return the key by which the preset names a path: `ratings[].vote` for a vote from a list."""
        return self.listed[path].key if path in self.listed else path

    def column(self, name: str) -> str:
        """Return the file's own key for the name of a format."""
        return self.columns.get(name, name)

    def optional(self, values: Mapping[str, Any], name: str) -> Any:
        """Return the value of a row under the file's own key for a name of a format; None without one.

        A key that `columns` gives another name, as in `{prompt: input}`, is not read under its own name too.
        """
        if name not in self.columns and name in self.columns.values():
            return None
        return values.get(self.column(name))


@dataclass(frozen=True)
class FileSample:
    """The part of a file by which its format is detected: its name, its first text, and its first objects."""

    name: str
    text: str
    items: tuple[SourceRecord, ...] = ()


Parser = Callable[[Sequence[SourceFile], ParseOptions, SkipCounts], Iterator[ParsedRow | Fault]]


@dataclass(frozen=True)
class Format:
    """A parser and the unit that it reads: a `line` or item, a whole `file`, or all files of a `source`.

    Files read by line may be cut into parts that are parsed in parallel. `fits` returns why a sample is not
    of this format; empty if it may be. `stream` yields a Fault for a row that cannot be read, continues, and
    counts in SkipCounts what it skips. `kind` is the kind of rows that cannot be read.

    tasks/data/parsing/reader.py reads a source by a format. Ingestion, the dry run and `init` all call it.
    """

    name: str
    stream: Parser
    unit: Literal["line", "file", "source"]
    fits: Callable[[FileSample], str]
    kind: str = ""

    def parse(self, files: Sequence[SourceFile], reading: ParseOptions) -> Iterator[ParsedRow]:
        """Yield the rows of files. Raise UserError at the first row that cannot be read."""
        for found in self.stream(files, reading, SkipCounts()):
            if isinstance(found, Fault):
                raise UserError(found.says)
            yield found
