"""One pure parser a format: the bytes of a source's files in, rows out. A preset names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.errors import UserError
from tasks.records import Rows


@dataclass(frozen=True)
class File:
    """A file of a source: where it came from, for messages, and its bytes."""

    origin: str
    content: bytes

    def text(self) -> str:
        """The content as text. Raises UserError with file and offset where it is not UTF-8."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.origin}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


@dataclass(frozen=True)
class Reading:
    """What a parser is told besides the files: the source's name, and words that go before a prompt."""

    source: str
    prompt: str = ""


Parser = Callable[[Sequence[File], Reading], Rows]


def find_parser(name: str) -> Parser:
    """The parser of a format. Raises UserError that names those there are."""
    from tasks.formats import natural_questions, passages, plain, rated_snippets, rows

    parsers: dict[str, Parser] = {
        "plain": plain.parse,
        "rows": rows.parse,
        "passages": passages.parse,
        "natural_questions": natural_questions.parse,
        "rated_snippets": rated_snippets.parse,
    }
    if name not in parsers:
        raise UserError(f"format {name!r} is not known; there are {', '.join(parsers)}")
    return parsers[name]
