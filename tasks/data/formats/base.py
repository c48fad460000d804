"""What a format is: a parser, what it reads at once, and how a file is recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from model.errors import UserError
from tasks.data.formats.field_meanings import Meaning
from tasks.data.formats.files import SourceFile, SourceRecord
from tasks.data.formats.skip_counts import SkipCounts
from tasks.data.records import Fault, ParsedRow


@dataclass(frozen=True)
class ParseOptions:
    """What a parser is told besides the files.

    `source` is the source's name; `prompt` goes before prompts that are made of a text; `columns` says which
    of the file's keys holds what, as in {"text": "body"}; `documents` whether a plain file is one document or
    one a paragraph; `aspect` is that of labels which name none; `labelling` a labelling configuration's text.
    `fields` says what keys mean that no format reads (see tasks/data/formats/field_meanings.py).
    """

    source: str
    prompt: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    documents: Literal["file", "paragraph"] = "file"
    aspect: str = "helpfulness"
    labelling: str = ""
    fields: dict[str, Meaning] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """The file's own key for what is called `name` here."""
        return self.columns.get(name, name)


@dataclass(frozen=True)
class Sample:
    """What is looked at to find a file's format: its name, its first text, and its first objects (if any)."""

    name: str
    text: str
    items: tuple[SourceRecord, ...] = ()


Parser = Callable[[Sequence[SourceFile], ParseOptions, SkipCounts], Iterator[ParsedRow | Fault]]


@dataclass(frozen=True)
class Format:
    """A parser and what it reads at once: a `line` or item by itself, a whole `file`, a `source`'s files.

    What is read by line may be cut into parts that are parsed apart. `fits` says why a sample is not of this
    format, in a few words; empty where it may be. `stream` yields a Fault for a row that cannot be read, goes
    on, and counts in a Tally what it reads past. `kind` is that of rows which cannot be read.

    tasks/data/formats/reader.py reads a source by a format; ingestion, the dry run and `init` all call it.
    """

    name: str
    stream: Parser
    unit: Literal["line", "file", "source"]
    fits: Callable[[Sample], str]
    kind: str = ""

    def parse(self, files: Sequence[SourceFile], reading: ParseOptions) -> Iterator[ParsedRow]:
        """Yield the rows of files; raise UserError at the first that cannot be read."""
        for found in self.stream(files, reading, SkipCounts()):
            if isinstance(found, Fault):
                raise UserError(found.says)
            yield found
