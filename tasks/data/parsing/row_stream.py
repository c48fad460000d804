"""Read files row by row, with the steps that all such formats share before and after parsing a row.

A format provides a parser of one row and the keys that it reads. This module unpacks cells with turns as
text, and empties null words in optional keys. It reads verdicts, masks and deletions beside the texts
(row_verdicts.py), and counts every other key as unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import UserError
from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord
from tasks.data.parsing.base import ParseOptions, Parser
from tasks.data.parsing.conversations import TURN_KEYS, MaskedAnswer, is_turn_list
from tasks.data.parsing.field_meanings import (
    KNOWN,
    MASKS,
    flatten_name,
    is_empty,
    is_invisible,
    is_null_word,
    maps_empty,
    read_meaning,
)
from tasks.data.parsing.label_checks import check_annotators, check_side_scores
from tasks.data.parsing.list_literals import holds_literal, holds_turns_text, read_literal, turns_of
from tasks.data.parsing.mark_columns import marks_removal
from tasks.data.parsing.preference_fields import ANNOTATORS, TIMES
from tasks.data.parsing.proposed_meanings import CORRECTION, ENDED
from tasks.data.parsing.row_choices import note_other_choices, read_choice
from tasks.data.parsing.row_verdicts import (
    CORRECTED,
    MASKED_VERDICT,
    SourceRow,
    corrected_rows,
    read_verdicts,
)
from tasks.data.parsing.skip_counts import SkipCounts
from tasks.data.parsing.verdict_names import looks_like_correction, looks_like_failure, looks_like_verdict
from tasks.data.parsing.verdict_values import named_as_verdict
from tasks.data.records import Comparison, Fault, ParsedRow, Rating, as_tie, describe_number

Row = Callable[[Mapping[str, Any], ParseOptions, str], Iterator[ParsedRow]]
LABEL_KEYS = frozenset((*ANNOTATORS, *TIMES, "annotator", "aspect", "time"))
_OPTIONAL = frozenset((
    "annotators", "context", "group", "history", "input", "references", "system", "system_message",
    "system_prompt", "times", *LABEL_KEYS,
))  # fmt: skip
NO_TEXTS = frozenset(("choice", "group", "id", "label", "score", "scores"))
_DEEPEST, MOST_LEAVES = 6, 200

MASKED = "answers marked as not to be learned"
EMPTY = "rows without an answer to learn"
BLANK = "empty rows"
EQUAL = "choices between answers with equal scores, which are ties"


@dataclass(frozen=True)
class Keys:
    """The keys that a format reads: `own` at the top of a row, `inside` of objects under them.

    `own` is a function of the row, as the kind of row may decide. `columns` may rename keys.
    """

    own: Callable[[Mapping[str, Any], ParseOptions], frozenset[str]]
    inside: Mapping[str, frozenset[str]]


def keys(*names: str, inside: Mapping[str, Sequence[str]] | None = None) -> Keys:
    """Return the keys of a format that reads the same ones of every row."""
    known = frozenset((*names, "group"))

    def own(values: Mapping[str, Any], reading: ParseOptions) -> frozenset[str]:
        return frozenset((*known, *reading.columns.values()))

    return Keys(own, {name: frozenset(inner) for name, inner in (inside or {}).items()})


def row_stream(row: Row, known: Keys, kind: str = "", nothing: str = EMPTY) -> Parser:
    """Return a parser that reads every item of its files by `row`.

    Args:
        row: Yields the records of one row. It raises UserError if the row cannot be read.
        known: The keys that `row` reads.
        kind: The kind of a row that cannot be read; empty if a format has several kinds.
        nothing: The reason under which a row without a record is counted.
    """

    def stream(
        files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts
    ) -> Iterator[ParsedRow | Fault]:
        for file in files:
            for item in file.all_items():
                if isinstance(item, BrokenItem):
                    yield Fault(item.where, item.fault, kind)
                    continue
                if _is_blank(item.values):
                    tally.left_out[BLANK] += 1
                    continue
                try:
                    found = list(_records(item, row, known, reading, tally, nothing))
                except UserError as error:
                    yield Fault(item.where, str(error), kind)
                # A row that nests deeper than Python's stack must not end the whole source.
                except RecursionError:
                    yield Fault(item.where, f"{item.where}: nested too deeply", kind)
                else:
                    yield from found

    return stream


def _is_blank(values: Mapping[str, Any]) -> bool:
    """Return whether a row has several columns and all are empty, as below the table of a spreadsheet."""
    return len(values) > 1 and all(
        value is None or value != value or (isinstance(value, str) and is_invisible(value))
        for value in values.values()
    )


def _records(
    item: SourceRecord, row: Row, known: Keys, reading: ParseOptions, tally: SkipCounts, nothing: str
) -> Iterator[ParsedRow]:
    values, where = unpacked_cells(item.values, reading, item.where, tally), item.where
    own = known.own(values, reading)
    for key in sorted((own - _OPTIONAL - NO_TEXTS) & values.keys()):
        if isinstance(values[key], str) and reading.fields.get(key) != "text" and holds_literal(values[key]):
            tally.note_literal(key, values[key], where)
    values = {key: value if key in own else _opened(value) for key, value in values.items()}
    said, values = read_verdicts(values, own, reading, where, tally)
    values, unchosen = read_choice(values, own, reading, where, tally)
    note_other_choices(values, own, reading, tally)
    # The difference afterwards shows whether masks of turns emptied this row.
    masked = tally.left_out[MASKED]
    # A pair with a verdict is a rating, so its annotator and time are read too.
    whole = values
    also = LABEL_KEYS if said.rates else frozenset()
    also |= {reading.column("annotators")} if said.several else frozenset()
    values = _walked(values, known, reading, where, tally, also)
    if reason := said.left_out() or unchosen:
        tally.left_out[reason] += 1
        return
    try:
        found = list(row(values, reading, where))
    except MaskedAnswer:
        found, nothing = [], EMPTY
    if not found:
        tally.left_out[nothing] += 1
        if tally.left_out[MASKED] > masked and said.rates:
            tally.left_out[MASKED_VERDICT] += 1
        return
    for one in corrected_rows(found, said, SourceRow(item.values, reading, where, tally)):
        if isinstance(one.row, Rating | Comparison):
            check_annotators(item.values, reading, where)
        if isinstance(one.row, Comparison) and "chosen" in own:
            leaves = (leaf for key, value in whole.items() for leaf in _leaves(key, value, 0))
            if check_side_scores(leaves, reading, where) and one.row.choice != "tie":
                tally.left_out[EQUAL] += 1
                one = one._replace(row=as_tie(one.row))
        yield one


def _opened(value: Any) -> Any:
    """Return the objects in a text, as tables contain them; any other value unchanged."""
    bare = value.strip() if isinstance(value, str) else ""
    if bare[:1] + bare[-1:] not in ("{}", "[]") or "{" not in bare[:2]:
        return value
    try:
        found = read_literal(bare)
    except ValueError:
        return value
    objects = found if isinstance(found, list) else [found]
    return found if objects and all(isinstance(one, dict) for one in objects) else value


def unpacked_cells(
    values: Mapping[str, Any], reading: ParseOptions, where: str, tally: SkipCounts
) -> dict[str, Any]:
    """Return a row with turns in place of texts with turns, and None for null words in optional keys.

    Raises:
        UserError: A text begins like turns and cannot be read.
    """
    optional = _OPTIONAL | {own for name, own in reading.columns.items() if name in _OPTIONAL}
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, str):
            if is_null_word(value):
                tally.note_word(key, value, where)
                value = None if key in optional else value
            elif holds_turns_text(value):
                try:
                    value = turns_of(value)
                except ValueError as error:
                    raise UserError(
                        f"{where}: {key} begins as a list of turns and cannot be read "
                        f"({describe_number(error)}); write it "
                        "as JSON"
                    ) from error
        # NaN, by which pandas and Parquet write a missing value, is not equal to itself.
        elif isinstance(value, float) and value != value:
            value = None
        found[str(key)] = value
    return found


def _walked(
    values: dict[str, Any],
    known: Keys,
    reading: ParseOptions,
    where: str,
    tally: SkipCounts,
    also: frozenset[str],
) -> dict[str, Any]:
    """Count the keys that nothing reads, also in turns, and return the row with the masks of its turns read.

    Args:
        values: The row.
        known: The keys that its format reads.
        reading: The options of the parser.
        where: The row's place, for messages.
        tally: Counts the keys.
        also: Keys of this row that are read besides those of its format.
    """
    own = known.own(values, reading) | also
    found = dict(values)
    for key, value in values.items():
        if key not in own:
            _count_unread(key, value, reading, where, tally)
        elif is_turn_list(value):
            found[key] = _turns_walked(key, value, reading, where, tally)
        elif isinstance(value, dict) and key in known.inside:
            inner = dict(value)
            for name, held in value.items():
                if name not in known.inside[key]:
                    _count_unread(f"{key}.{name}", held, reading, where, tally)
                elif is_turn_list(held):
                    inner[name] = _turns_walked(f"{key}.{name}", held, reading, where, tally)
            found[key] = inner
    return found


def _turns_walked(path: str, value: Any, reading: ParseOptions, where: str, tally: SkipCounts) -> Any:
    """Count the unread keys of turns, and return the turns with their masks as `weight`."""
    if isinstance(value, dict):
        inner = value.get("messages", value.get("conversations"))
        if is_turn_list(inner):
            name = "messages" if "messages" in value else "conversations"
            return {**value, name: _turns_walked(f"{path}.{name}", inner, reading, where, tally)}
        return _turns_walked(path, [value], reading, where, tally)[0]
    turns = []
    for number, turn in enumerate(value, 1):
        kept, learned, right = {}, True, ""
        for name, held in turn.items():
            inside = f"{path}[].{name}"
            meaning = reading.fields.get(inside)
            if meaning is not None:
                tally.used.add(inside)
            # A name such as `content` is no mask unless the preset says so.
            unset = is_empty(held) and not maps_empty(meaning)
            if unset or (name in TURN_KEYS and meaning is None):
                kept[name] = held
                continue
            if meaning == "correction":
                right = str(held)
                continue
            read = (
                read_meaning(name, meaning, held)
                if meaning or KNOWN.get(flatten_name(name)) in MASKS
                else None
            )
            if read is None and meaning is not None:
                raise UserError(
                    f"{where}, turn {number}: {inside} is {held!r:.40}, which fields gives no meaning"
                )
            if read is None:
                _count_unread(inside, held, reading, where, tally, inside)
            elif read[0] == "learn":
                learned = learned and read[1]
            elif read[0] in ("review", "deleted"):
                learned = learned and read[1] in ("accept", False)
            elif read[0] == "verdict":
                learned = learned and read[1] > 0
        if not learned:
            if _speaks(turn):
                tally.left_out[MASKED] += 1
            kept["weight"] = 0
        if right:
            kept["value" if "value" in kept else "content"] = right
            tally.left_out[CORRECTED] += 1
        turns.append(kept)
    return turns


def _speaks(turn: Mapping[str, Any]) -> bool:
    """Return whether a turn is the assistant's. Others are never learned."""
    role = str(turn.get("role") or turn.get("from") or "assistant").strip().lower()
    return role not in ("user", "human", "system", "developer", "prompter")


def _count_unread(
    path: str, value: Any, reading: ParseOptions, where: str, tally: SkipCounts, turn: str = ""
) -> None:
    """Count the leaves under a key, such as `metadata.quality` or `annotations[].label`.

    Args:
        path: The key.
        value: Its value.
        reading: The options of the parser.
        where: The row's place, for messages.
        tally: Counts the leaves.
        turn: The path, if it is a key of a turn.
    """
    for index, (leaf, held) in enumerate(_leaves(path, value, 0)):
        # A row may hold a whole document of metadata; the first leaves are enough to ask about.
        if index >= MOST_LEAVES:
            return
        if is_empty(held):
            continue
        # A meaning of such a key would be dropped silently, as only `turn` says whose verdict it is.
        if "[]" in leaf and leaf != turn:
            tally.inside.add(leaf)
        if _told_of(leaf, reading, tally):
            continue
        looks = looks_like_verdict(leaf, held) or (ENDED if looks_like_failure(leaf, held) else "")
        if not looks and (
            any(named_as_verdict(part, held) for part in leaf.split(".")) or marks_removal(leaf, held)
        ):
            looks = "a verdict"
        if not looks and looks_like_correction(leaf, held):
            looks = CORRECTION
        tally.note_unread(leaf, held, where, looks)
        tally.note_values(leaf, held)


def _told_of(path: str, reading: ParseOptions, tally: SkipCounts) -> bool:
    """Return whether `fields` gives a key's meaning, or ignores a key above it."""
    parts = path.split(".")
    for name in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
        # `fields` may name a list with or without its brackets.
        for spelled in (name, name.removesuffix("[]")):
            meaning = reading.fields.get(spelled)
            if meaning is not None and (spelled == path or meaning == "ignore"):
                tally.used.add(spelled)
                return True
    return False


def _leaves(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth < _DEEPEST and isinstance(value, dict):
        for key, held in value.items():
            yield from _leaves(f"{path}.{key}", held, depth + 1)
    elif depth < _DEEPEST and isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for held in value:
            yield from _leaves(f"{path}[]", held, depth + 1)
    else:
        yield path, value
