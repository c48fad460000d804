"""Define the four records of the data and their canonical form, JSON Lines in shards."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple

from model.errors import UserError
from tasks.common.annotators import visible_name
from tasks.common.merge_conflict import conflict_line
from tasks.common.value_kinds import kind_of

Choice = Literal["a", "b", "tie"]
Turn = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": what was said}


@dataclass(frozen=True)
class Text:
    """A document to learn language from.

    `group` is equal in rows that a split must keep together: a digest, or the group that the row names. Every
    record has a `fault`, the reason why a row of a source could not be read. Its other fields are then
    empty, and validation quarantines it.
    """

    id: str
    text: str
    source: str
    group: str
    fault: str = ""


@dataclass(frozen=True)
class Pair:
    """A prompt and its answer. `references` are all right answers, including the completion.

    `history` has the turns before the prompt, perhaps with a system prompt. A conversation gives a pair for
    each answer, all of one group.
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

    `time` is the time of the choice, ISO 8601; empty if it is unknown. If `choice` is a reviewer's decision,
    `first_annotators[i]` chose `first_choices[i]` before. Agreement is measured on these.
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
    first_choices: list[str] = field(default_factory=list)
    first_annotators: list[str] = field(default_factory=list)
    fault: str = ""


@dataclass(frozen=True)
class Rating:
    """A rated answer: `annotators[i]` gave `scores[i]` at `times[i]`. `times` is empty if none is known."""

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
        total = sum(self.scores)
        # The sum of huge scores may be infinite, though their mean is not.
        return total / len(self.scores) if isfinite(total) else sum(x / len(self.scores) for x in self.scores)


Record = Text | Pair | Comparison | Rating
ID = slice(7, 23)  # a canonical line begins {"id":"0123456789abcdef"
TYPES: dict[str, type[Record]] = {
    "text": Text, "pairs": Pair, "comparisons": Comparison, "ratings": Rating,
}  # fmt: skip
# The kinds of rows that hold people's labels.
LABEL_KINDS = ("comparisons", "ratings")


class TurnVerdict(NamedTuple):
    """A verdict on one answer of a conversation: its score, its text if a correction replaces it.

    `rejected` says whether it is a reviewer's rejection. If several people voted, `score` is the mean of
    their scores, `several`, by `people`.
    """

    score: float
    text: str = ""
    rejected: bool = False
    several: tuple[float, ...] = ()
    people: tuple[str, ...] = ()


class ParsedRow(NamedTuple):
    """A record as a parser finds it, with its place for messages: a file with a line, an item or a row.

    Attributes:
        row: The record.
        where: The place.
        own: The id that the file itself gives the row, if any. One id may have only one content.
        anonymous: Whether the annotator is unknown. Two equal rows of this kind are votes of two people.
        final: Whether the record has the last answer of its row. False if a mask excludes that answer.
        verdict: The verdict on the pair's answer in its turn of a conversation, if any.
        rejects: The rejection id of the pair whose answer a reviewer rejected in this row, if any.
    """

    row: Record
    where: str
    own: str = ""
    anonymous: bool = False
    final: bool = True
    rejects: str = ""
    verdict: TurnVerdict | None = None


class Fault(NamedTuple):
    """A row that could not be read: its place, the reason as a whole sentence, and its kind if known."""

    where: str
    says: str
    kind: str = ""


def text_digest(*parts: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of the parts, which serve as an id or a group."""
    # JSON separates the parts unambiguously: ("a", "b") and ("ab",) differ.
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def compose_text(text: str) -> str:
    """Return a text in Unicode's composed form (NFC), so that texts that look equal have one id."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def group_digest(text: str) -> str:
    """Return the group of rows that share a text: its digest, equal for texts that look equal."""
    return text_digest(compose_text(text))


def text_row(text: str, source: str, group: str = "") -> Text:
    """Return a Text with its id. Its group is its own digest unless one is given."""
    text = compose_text(text)
    return Text(text_digest("text", text), text, source, group or text_digest(text))


def pair_row(
    prompt: str, completion: str, source: str, group: str, references: Sequence[str] = (),
    history: Sequence[Turn] = (),
) -> Pair:  # fmt: skip
    """Return a Pair with its id; the arguments are the fields of Pair. Texts are normalised to NFC."""
    prompt, completion, history = compose_text(prompt), compose_text(completion), _canonical_turns(history)
    references = [compose_text(reference) for reference in references]
    number = text_digest("pair", *_history_text(history), prompt, completion)
    # A pair without references accepts its own completion.
    answers = list(references) or [completion]
    return Pair(number, prompt, completion, answers, source, group, list(history))


def comparison_row(
    prompt: str, a: str, b: str, choice: Choice, aspect: str, annotator: str, source: str, group: str,
    history: Sequence[Turn] = (), time: str = "", first_choices: Sequence[str] = (),
    first_annotators: Sequence[str] = (),
) -> Comparison:  # fmt: skip
    """Return a Comparison with its id; the arguments are its fields. Texts are normalised to NFC.

    The first judgements are no part of the id: the label is the decision.
    """
    prompt, a, b, history = compose_text(prompt), compose_text(a), compose_text(b), _canonical_turns(history)
    number = text_digest("comparison", *_history_text(history), prompt, a, b, choice, aspect, annotator)
    return Comparison(
        number, prompt, a, b, choice, aspect, annotator, source, group, list(history), time,
        list(first_choices), list(first_annotators),
    )  # fmt: skip


def as_tie(row: Comparison) -> Comparison:
    """Return a Comparison of the same answers in which neither is better."""
    return comparison_row(
        row.prompt, row.a, row.b, "tie", row.aspect, row.annotator, row.source, row.group, row.history,
        row.time, row.first_choices, row.first_annotators,
    )  # fmt: skip


def rating_row(
    prompt: str, completion: str, scores: Sequence[float], annotators: Sequence[str], aspect: str,
    source: str, group: str, history: Sequence[Turn] = (), times: Sequence[str] = (),
) -> Rating:  # fmt: skip
    """Return a Rating with its id; the arguments are its fields. Texts are normalised to NFC."""
    prompt, completion, history = compose_text(prompt), compose_text(completion), _canonical_turns(history)
    number = text_digest(
        "rating", *_history_text(history), prompt, completion, aspect, list(annotators), list(scores)
    )
    return Rating(
        number, prompt, completion, list(scores), list(annotators), aspect, source, group,
        list(history), list(times),
    )  # fmt: skip


def fault_row(kind: str, source: str, where: str, says: str) -> Record:
    """Return a record for a row that could not be read, so that it is counted and quarantined.

    Args:
        kind: The kind of rows that it belongs to.
        source: The source's name.
        where: The file and line.
        says: What is wrong, in a sentence.
    """
    # The place is part of the id, so that two unreadable rows are no duplicates of each other.
    number = text_digest("fault", kind, source, where, says)
    # The sentence may quote half a surrogate pair from the row.
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
    # Nothing at all for an empty history, so that ids from before histories existed stay valid.
    return [list(history)] if history else []


def canonical_line(row: Record) -> str:
    """Return the canonical line of a record: keys in the record's order, no spaces.

    An empty field that came later than the others is left out, so that rows without it have the same line as
    before it existed.
    """
    values = dataclasses.asdict(row)
    for name in ("history", "time", "times", "first_choices", "first_annotators", "fault"):
        # True for records without the field, so that nothing is deleted there.
        if not values.get(name, True):
            del values[name]
    return json_line(values)


def json_line(values: Mapping[str, Any]) -> str:
    """Return an object as JSON without spaces, with its keys in their order."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def list_shards(folder: Path) -> list[Path]:
    """Return the shards of one kind of rows in order, the JSON Lines files of a folder as `rows/text`."""
    return sorted(folder.glob("*.jsonl"))


def read_shards(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of all shards of a folder, in order."""
    for path in list_shards(folder):
        yield from read_lines(path)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file. Raise UserError with file and line for a damaged one."""
    if not path.exists():
        raise UserError(f"{path} is missing")
    with path.open("rb") as file:
        yield from parse_lines(file, str(path))


TOO_LONG = "a number has more than 4,300 digits"


def json_fault(error: Exception) -> str:
    """Return the reason of a JSON parser's error in a few words."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return describe_number(error)


def describe_number(error: Exception) -> str:
    """Return an error's text. For a number with too many digits it omits Python's advice to programmers."""
    said = str(error)
    return TOO_LONG if "set_int_max_str_digits" in said else said


def parse_lines(lines: Iterable[bytes], origin: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of lines, without empty ones. Raise UserError with `origin` and the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            # Editors on Windows put a byte order mark before the first line.
            found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{origin}, line {number}: not UTF-8 at byte {error.start}; save it as UTF-8"
            ) from error
        except (ValueError, RecursionError) as error:
            if conflict_line(line.decode("utf-8")):
                said = f"{origin}, line {number}: a merge conflict; resolve it and run again"
                raise UserError(said) from error
            raise UserError(
                f"{origin}, line {number}: broken JSON ({json_fault(error)}); each line is one object"
            ) from error
        if not isinstance(found, dict):
            raise UserError(f"{origin}, line {number}: {kind_of(found)}, expected an object")
        yield found


@contextmanager
def naming_row(path: Path, shown: str) -> Iterator[None]:
    """Turn the errors of a damaged row of chatmill's own files into a sentence with the file and the line.

    Readers of these files do not check each row, as checks would take longer than reading.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        number = _broken_line(path)
        # No row is damaged, so the error is a mistake of ours and stays as it is.
        if not number:
            raise
        raise UserError(
            f"{shown}, line {number}: the row cannot be read, the file is damaged; `chatmill "
            "ingest` rebuilds data/, `chatmill run` recomputes other outputs"
        ) from error


def _broken_line(path: Path) -> int:
    """Return the number of the first line that is no row, counted from 1; 0 if all are rows."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                return number
            if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                return number
    return 0


def annotators_of(row: Mapping[str, Any]) -> list[str]:
    """Return the annotators of a row's labels, one for each score; empty texts for unknown ones."""
    if "scores" not in row:
        return [_person(row.get("annotator", ""))]
    named = [_person(name) for name in row.get("annotators", [])]
    return named + [""] * (len(row["scores"]) - len(named))


def people_of(row: Mapping[str, Any]) -> list[str]:
    """Return all people whose judgements a row has: its annotators, and those whom a decision replaced."""
    return [*annotators_of(row), *map(_person, row.get("first_annotators") or ())]


def _person(name: Any) -> Any:
    # Rows that were corrected by hand, or stored by a former version, may have characters without width.
    return visible_name(name) if isinstance(name, str) else name


STRINGS = {
    "text": ("text",),
    "pairs": ("prompt", "completion"),
    "comparisons": ("prompt", "a", "b", "aspect", "annotator"),
    "ratings": ("prompt", "completion", "aspect"),
}
