"""The four records that everything is made of, and their one canonical form: JSON Lines in shards."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from model.atomic_file import atomic_path
from model.errors import UserError

Choice = Literal["a", "b", "tie"]
Turn = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": what was said}


@dataclass(frozen=True)
class Text:
    """A document to learn language from. `group` is the digest of what a split must not tear.

    Every record has a `fault`: why a row of a source could not be read. Its other fields are then empty, and
    validation puts it aside; a row that could be read has none.
    """

    id: str
    text: str
    source: str
    group: str
    fault: str = ""


@dataclass(frozen=True)
class Pair:
    """A prompt and how to answer it; `references` are all right answers, the completion among them.

    `history` is what was said before the prompt: a system line, earlier turns. A conversation is a pair for
    each answer in it, all of one group.
    """

    id: str
    prompt: str
    completion: str
    references: list[str]
    source: str
    group: str
    history: list[Turn] = field(default_factory=list)
    fault: str = ""


@dataclass(frozen=True)
class Comparison:
    """A person's choice between two answers, on one aspect: truthfulness, helpfulness, harmlessness, tone.

    `time` is when it was made, ISO 8601; empty where it is not known.
    """

    id: str
    prompt: str
    a: str
    b: str
    choice: Choice
    aspect: str
    annotator: str
    source: str
    group: str
    history: list[Turn] = field(default_factory=list)
    time: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Rating:
    """A rated answer with everybody's score of it: `scores[i]` was given by `annotators[i]` at `times[i]`.

    `times` is empty where none is known.
    """

    id: str
    prompt: str
    completion: str
    scores: list[float]
    annotators: list[str]
    aspect: str
    source: str
    group: str
    history: list[Turn] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    fault: str = ""

    @property
    def score(self) -> float:
        """The mean of the scores."""
        return sum(self.scores) / len(self.scores)


Record = Text | Pair | Comparison | Rating
ID = slice(7, 23)  # a canonical line begins {"id":"0123456789abcdef"
TYPES: dict[str, type[Record]] = {
    "text": Text, "pairs": Pair, "comparisons": Comparison, "ratings": Rating,
}  # fmt: skip
# The kinds that hold people's judgements.
LABEL_KINDS = ("comparisons", "ratings")


class ParsedRow(NamedTuple):
    """A record as a parser finds it, and where: a file with a line, an item or a row, for messages.

    `own` is the id that the file itself gives the row, where it gives one: it stands for one content.
    `anonymous`: nobody is named who gave the label. Two such rows are votes of two people, even if they say
    the same. `final`: the record holds the last answer of its row; false where a mask takes that answer out.
    """

    row: Record
    where: str
    own: str = ""
    anonymous: bool = False
    final: bool = True


class Fault(NamedTuple):
    """A row that could not be read: where it is, why (a whole sentence), and its kind where that is known."""

    where: str
    says: str
    kind: str = ""


def text_digest(*parts: object) -> str:
    """The first 16 hex digits of the SHA-256 of the parts: an id, or a group."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def compose_text(text: str) -> str:
    """The text in Unicode's composed form (NFC): what looks the same is the same bytes, and the same id."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def text_row(text: str, source: str, group: str = "") -> Text:
    """A Text with its id; its own digest is its group unless another is given."""
    text = compose_text(text)
    return Text(text_digest("text", text), text, source, group or text_digest(text))


def pair_row(
    prompt: str, completion: str, source: str, group: str, references: Sequence[str] = (),
    history: Sequence[Turn] = (),
) -> Pair:  # fmt: skip
    """A Pair with its id."""
    prompt, completion, history = compose_text(prompt), compose_text(completion), _canonical_turns(history)
    references = [compose_text(reference) for reference in references]
    number = text_digest("pair", *_history_text(history), prompt, completion)
    answers = list(references) or [completion]
    return Pair(number, prompt, completion, answers, source, group, list(history))


def comparison_row(
    prompt: str, a: str, b: str, choice: Choice, aspect: str, annotator: str, source: str, group: str,
    history: Sequence[Turn] = (), time: str = "",
) -> Comparison:  # fmt: skip
    """A Comparison with its id."""
    prompt, a, b, history = compose_text(prompt), compose_text(a), compose_text(b), _canonical_turns(history)
    number = text_digest("comparison", *_history_text(history), prompt, a, b, choice, aspect, annotator)
    return Comparison(number, prompt, a, b, choice, aspect, annotator, source, group, list(history), time)


def rating_row(
    prompt: str, completion: str, scores: Sequence[float], annotators: Sequence[str], aspect: str,
    source: str, group: str, history: Sequence[Turn] = (), times: Sequence[str] = (),
) -> Rating:  # fmt: skip
    """A Rating with its id."""
    prompt, completion, history = compose_text(prompt), compose_text(completion), _canonical_turns(history)
    number = text_digest(
        "rating", *_history_text(history), prompt, completion, aspect, list(annotators), list(scores)
    )
    return Rating(
        number, prompt, completion, list(scores), list(annotators), aspect, source, group,
        list(history), list(times),
    )  # fmt: skip


def fault_row(kind: str, source: str, where: str, says: str) -> Record:
    """Return a record that stands for a row which could not be read, so that it is counted and put aside."""
    number = text_digest("fault", kind, source, where, says)
    says = says.encode("utf-8", "replace").decode()
    if kind == "text":
        return Text(number, "", source, number, says)
    if kind == "pairs":
        return Pair(number, "", "", [], source, number, fault=says)
    if kind == "comparisons":
        return Comparison(number, "", "", "", "tie", "", "", source, number, fault=says)
    return Rating(number, "", "", [], [], "", source, number, fault=says)


def _canonical_turns(history: Sequence[Turn]) -> list[Turn]:
    return [{**turn, "content": compose_text(turn["content"])} for turn in history]


def _history_text(history: Sequence[Turn]) -> list[Any]:
    return [list(history)] if history else []


def canonical_line(row: Record) -> str:
    """The one line that a record is: keys in the record's order, no spaces.

    `history`, times and `fault` are in it where they say something, so that rows without are what they were.
    """
    values = dataclasses.asdict(row)
    for name in ("history", "time", "times", "fault"):
        if not values.get(name, True):
            del values[name]
    return json_line(values)


def json_line(values: Mapping[str, Any]) -> str:
    """An object as JSON without spaces, its keys in their order: what stands on a line of a shard."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def write_rows(path: Path, rows: Iterable[Record]) -> None:
    """One shard of canonical JSON Lines: UTF-8, sorted by id; there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(path, path.with_suffix(".part")) as part,
        part.open("w", encoding="utf-8", errors="replace", newline="\n") as file,
    ):
        for row in sorted(rows, key=lambda row: row.id):
            file.write(canonical_line(row) + "\n")


def list_shards(folder: Path) -> list[Path]:
    """The shards of one kind of rows, in order: the JSON Lines files of a folder such as `rows/text`."""
    return sorted(folder.glob("*.jsonl"))


def read_shards(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of all shards of a folder, in order, one at a time."""
    for path in list_shards(folder):
        yield from read_lines(path)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file. Raises UserError with file and line where one is broken."""
    if not path.exists():
        raise UserError(f"{path} is missing")
    with path.open("rb") as file:
        yield from parse_lines(file, str(path))


TOO_LONG = "a number has more than 4,300 digits"


def json_fault(error: Exception) -> str:
    """Return what is wrong with JSON, in a few words, from the error that parsing it raised."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return describe_number(error)


def describe_number(error: Exception) -> str:
    """Return an error's text; of a number with too many digits, without Python's advice to programmers."""
    said = str(error)
    return TOO_LONG if "set_int_max_str_digits" in said else said


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
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{origin}, line {number}: broken JSON ({json_fault(error)}); each line is one object"
            ) from error
        if not isinstance(found, dict):
            raise UserError(f"{origin}, line {number}: {type(found).__name__} where an object is right")
        yield found


@contextmanager
def naming_row(path: Path, shown: str) -> Iterator[None]:
    """Turn what a broken row of chatmill's own files raises into a sentence with the file and the line.

    Who reads such files row by row does not check each row, which would take longer than to read them.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        number = _broken_line(path)
        if not number:
            raise
        raise UserError(
            f"{shown}, line {number}: the row cannot be read, the file is damaged; `chatmill ingest` makes "
            "data/ again, `chatmill run` what was made from it"
        ) from error


def _broken_line(path: Path) -> int:
    """Return the first line that is no row, counted from 1; 0: each is."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                return number
            if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                return number
    return 0


def read_rows(folder: Path, kind: str) -> list[Any]:
    """Records of one type from all shards of a folder."""
    return [TYPES[kind](**row) for row in read_shards(folder)]


def annotators_of(row: Mapping[str, Any]) -> list[str]:
    """Who gave the labels of a row, one a score; empty where nobody is named."""
    if "scores" not in row:
        return [row.get("annotator", "")]
    named = list(row.get("annotators", []))
    return named + [""] * (len(row["scores"]) - len(named))


ASPECTS = ("truthfulness", "helpfulness", "harmlessness", "tone")

STRINGS = {
    "text": ("text",),
    "pairs": ("prompt", "completion"),
    "comparisons": ("prompt", "a", "b", "aspect", "annotator"),
    "ratings": ("prompt", "completion", "aspect"),
}


NOBODY = "unknown"


def is_nobody(annotator: object) -> bool:
    """Return whether a label names nobody as its author."""
    return not isinstance(annotator, str) or not annotator or annotator.startswith(NOBODY)
