"""The four records that everything is made of, and their one canonical form on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model.errors import UserError

Choice = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class Text:
    """A document to learn language from. `group` is the digest of what a split must not tear."""

    id: str
    text: str
    source: str
    group: str


@dataclass(frozen=True)
class Pair:
    """A prompt and how to answer it; `references` are all right answers, the completion among them."""

    id: str
    prompt: str
    completion: str
    references: list[str]
    source: str
    group: str


@dataclass(frozen=True)
class Comparison:
    """A person's choice between two answers, on one aspect: truthfulness, helpfulness, harmlessness, tone."""

    id: str
    prompt: str
    a: str
    b: str
    choice: Choice
    aspect: str
    annotator: str
    source: str
    group: str


@dataclass(frozen=True)
class Rating:
    """A rated answer with everybody's score of it: `scores[i]` was given by `annotators[i]`."""

    id: str
    prompt: str
    completion: str
    scores: list[float]
    annotators: list[str]
    aspect: str
    source: str
    group: str

    @property
    def score(self) -> float:
        """The mean of the scores."""
        return sum(self.scores) / len(self.scores)


Record = Text | Pair | Comparison | Rating
TYPES: dict[str, type[Record]] = {
    "text": Text, "pairs": Pair, "comparisons": Comparison, "ratings": Rating,
}  # fmt: skip


@dataclass
class Rows:
    """Rows of each type, as a parser finds them."""

    text: list[Text] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)

    def of(self, kind: str) -> list[Any]:
        """The rows of a type by its name in `TYPES`."""
        rows: list[Any] = getattr(self, kind)
        return rows

    def extend(self, other: Rows) -> None:
        """Add another parser's rows."""
        for kind in TYPES:
            self.of(kind).extend(other.of(kind))


def digest(*parts: object) -> str:
    """The first 16 hex digits of the SHA-256 of the parts: an id, or a group."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def text_row(text: str, source: str, group: str = "") -> Text:
    """A Text with its id; its own digest is its group unless another is given."""
    return Text(digest("text", text), text, source, group or digest(text))


def pair_row(prompt: str, completion: str, source: str, group: str, references: Sequence[str] = ()) -> Pair:
    """A Pair with its id."""
    return Pair(
        digest("pair", prompt, completion),
        prompt,
        completion,
        list(references) or [completion],
        source,
        group,
    )


def comparison_row(
    prompt: str, a: str, b: str, choice: Choice, aspect: str, annotator: str, source: str, group: str
) -> Comparison:
    """A Comparison with its id."""
    number = digest("comparison", prompt, a, b, choice, aspect, annotator)
    return Comparison(number, prompt, a, b, choice, aspect, annotator, source, group)


def rating_row(
    prompt: str, completion: str, scores: Sequence[float], annotators: Sequence[str], aspect: str,
    source: str, group: str,
) -> Rating:  # fmt: skip
    """A Rating with its id."""
    number = digest("rating", prompt, completion, aspect, list(annotators), list(scores))
    return Rating(number, prompt, completion, list(scores), list(annotators), aspect, source, group)


def write_rows(path: Path, rows: Iterable[Record]) -> None:
    """Canonical JSON Lines: UTF-8, keys in the record's order, no spaces, sorted by id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for row in sorted(rows, key=lambda row: row.id):
            file.write(json.dumps(dataclasses.asdict(row), ensure_ascii=False, separators=(",", ":")) + "\n")
    part.replace(path)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file. Raises UserError with file and line where one is broken."""
    if not path.exists():
        raise UserError(f"{path} is missing")
    with path.open("rb") as file:
        yield from parse_lines(file, str(path))


def parse_lines(lines: Iterable[bytes], origin: str) -> Iterator[dict[str, Any]]:
    """JSON objects, one a line; empty lines are passed over. Raises UserError with `origin` and the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{origin}, line {number}: not UTF-8 at byte {error.start}; save it as UTF-8"
            ) from error
        except json.JSONDecodeError as error:
            raise UserError(
                f"{origin}, line {number}: broken JSON ({error.msg}); each line is one object"
            ) from error
        if not isinstance(found, dict):
            raise UserError(f"{origin}, line {number}: {type(found).__name__} where an object is right")
        yield found


def read_rows(path: Path, kind: str) -> list[Any]:
    """Records of one type from canonical JSON Lines."""
    return [TYPES[kind](**row) for row in read_lines(path)]
