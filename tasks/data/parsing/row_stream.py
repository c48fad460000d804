"""Read files row by row, with the steps that all such formats share before and after parsing a row.

A format provides a parser of one row and the keys that it reads. This module unpacks cells with turns as
text, and empties null words in optional keys. It reads verdicts, masks and deletions beside the texts
(row_verdicts.py), and counts every other key as unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import UserError
from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord, explain_wide
from tasks.data.parsing.base import EMPTY_FILES, ParseOptions, Parser
from tasks.data.parsing.conversations import MEDIA, SYSTEM, MaskedAnswer, is_turn_list
from tasks.data.parsing.empty_turns import count_empty_turns
from tasks.data.parsing.judged_rows import MASKED_VERDICT, corrected_rows, rated_turns
from tasks.data.parsing.label_checks import check_annotators, check_side_scores
from tasks.data.parsing.listed_votes import spread_votes
from tasks.data.parsing.preference_fields import TIMES, unread_times
from tasks.data.parsing.right_answers import write_right_answers
from tasks.data.parsing.row_choices import note_other_choices, read_choice
from tasks.data.parsing.row_verdicts import SourceRow, read_verdicts
from tasks.data.parsing.turn_order import check_turn_order
from tasks.data.parsing.unread_keys import count_unread, leaves_of
from tasks.data.parsing.walked_turns import MASKED, spread_masks, walk_turns
from tasks.data.questions.companion_keys import companions_of
from tasks.data.questions.proposed_meanings import BYTES, ESCAPED, LITERAL, QUOTED
from tasks.data.questions.seen_keys import Seen, count_key
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Comparison, Fault, ParsedRow, Rating, as_tie, describe_number
from tasks.data.rejections import rejection_id
from tasks.data.values.annotators import ANNOTATORS
from tasks.data.values.field_meanings import (
    is_invisible,
    is_null_word,
)
from tasks.data.values.key_paths import check_paths
from tasks.data.values.key_text import format_sample
from tasks.data.values.list_literals import holds_bytes, holds_turns_text, opened_objects, turns_of
from tasks.data.values.printed_values import (
    holds_literal,
    holds_objects,
    holds_other_print,
    holds_quoted,
    text_of_parts,
)

Row = Callable[[Mapping[str, Any], ParseOptions, str], Iterator[ParsedRow]]
LABEL_KEYS = frozenset((*ANNOTATORS, *TIMES, "annotator", "aspect", "time"))
_OPTIONAL = frozenset((
    "annotators", "context", "group", "history", "input", "references", "system", "system_message",
    "system_prompt", "times", *LABEL_KEYS,
))  # fmt: skip
# Keys whose list as text is read as one. An input, a context and a system prompt are texts to learn.
_LISTED = _OPTIONAL - {"context", "input", *SYSTEM}
# Keys that are no text to learn. A row with tools or images is refused as a whole.
NO_TEXTS = frozenset(("choice", "functions", "group", "id", "label", "score", "scores", "tools", *MEDIA))
EMPTY = "rows without an answer to learn"
BLANK = "empty rows"
RETURNS = "breaks that Excel wrote as _x000D_ at the end of a line"
_RETURN = "_x000D_"
# Excel writes so the line ends of other programs. Inside a line the word may be meant.
_BREAK = re.compile(rf"{_RETURN}(?=\n|\Z)")
EQUAL = "choices between answers with equal scores, which are ties"


@dataclass(frozen=True)
class Keys:
    """The keys that a format reads: `own` at the top of a row, `inside` of objects under them.

    `own` is a function of the row, as the kind of row may decide. `columns` may rename keys. `turns` is the
    key of a conversation, in whose turns a verdict rates the answer.
    """

    own: Callable[[Mapping[str, Any], ParseOptions], frozenset[str]]
    inside: Mapping[str, frozenset[str]]
    turns: str = ""


def keys(*names: str, inside: Mapping[str, Sequence[str]] | None = None, turns: str = "") -> Keys:
    """Return the keys of a format that reads the same ones of every row."""
    known = frozenset((*names, "group"))

    def own(values: Mapping[str, Any], reading: ParseOptions) -> frozenset[str]:
        # If `columns` maps a name to another column, the column with that name itself is not read.
        return frozenset((*(known - reading.columns.keys()), *reading.columns.values()))

    return Keys(own, {name: frozenset(inner) for name, inner in (inside or {}).items()}, turns)


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
            # A part of a file may have no item, and its file is not empty.
            empty = file.stop is None
            for item in file.all_items(tally.left_out):
                empty = False
                if isinstance(item, BrokenItem):
                    tally.legends.note_row(item.values, item.where)
                    yield Fault(item.where, item.fault, kind)
                    continue
                if _is_blank(item.values):
                    tally.left_out[BLANK] += 1
                    continue
                tally.shapes.note(item.values, file.origin)
                yield from item_rows(item, row, known, reading, tally, kind, nothing)
            if empty:
                tally.left_out[EMPTY_FILES] += 1

    return stream


def item_rows(
    item: SourceRecord,
    row: Row,
    known: Keys,
    reading: ParseOptions,
    tally: SkipCounts,
    kind: str = "",
    nothing: str = EMPTY,
) -> Iterator[ParsedRow | Fault]:
    """Yield the records of one item, or a Fault. The arguments are those of `row_stream`."""
    try:
        found = list(_records(item, row, known, reading, tally, nothing))
    except UserError as error:
        tally.legends.note_row(item.values, item.where)
        yield Fault(item.where, str(error), kind)
    # A row that nests deeper than Python's stack must not end the whole source.
    except RecursionError:
        yield Fault(item.where, f"{item.where}: nested too deeply", kind)
    else:
        yield from found


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
    values, reading = spread_votes(values, known.own(values, reading), reading, where, tally)
    own = known.own(values, reading)
    if "references" in own:
        values = write_right_answers(values, reading)
    for key in sorted((own - NO_TEXTS) & values.keys()):
        value = values[key]
        if not isinstance(value, str) or reading.fields.get(key) == "text":
            continue
        if holds_bytes(value):
            tally.note_literal(key, value, where, BYTES)
        elif (
            (key not in _LISTED and holds_literal(value)) or holds_objects(value) or holds_other_print(value)
        ):
            tally.note_literal(key, value, where, LITERAL)
        elif holds_quoted(value):
            tally.note_literal(key, value, where, QUOTED)
        elif _RETURN in value:
            tally.note_literal(key, value, where, ESCAPED)
    opened = {key: value if key in own else opened_objects(value) for key, value in values.items()}
    # A table has few columns, but a cell may hold an object with any number of keys.
    kept = {key: value for key, value in opened.items() if reading.fields.get(key) != "ignore"}
    unpacked = any(value is not item.values.get(key) for key, value in kept.items())
    if unpacked and (fault := explain_wide(kept, where)):
        raise UserError(fault)
    values = opened
    if known.turns:
        column = reading.column(known.turns)
        silent = [path.partition("[].")[2] for path, said in reading.fields.items() if said == "ignore"]
        check_turn_order(values.get(column), column, silent, where)
        values = spread_masks(values, reading.column(known.turns), reading, where, tally)
    check_paths(values, reading.fields, where)
    said, values = read_verdicts(values, own, reading, where, tally)
    if said.unrated:
        tally.legends.note_row(item.values, where)
    values, unchosen = read_choice(values, own, reading, where, tally)
    note_other_choices(values, own, reading, tally)
    # The difference afterwards shows whether masks of turns emptied this row.
    masked = tally.left_out[MASKED]
    # A pair with a verdict is a rating, so its annotator and time are read too.
    whole = values
    # The same holds if verdicts in the turns rate answers.
    inside = f"{reading.column(known.turns)}[]." if known.turns else ""
    rates = said.rates or (inside and any(path.startswith(inside) for path in reading.fields))
    also = LABEL_KEYS if rates else frozenset()
    also |= {reading.column("annotators")} if said.several else frozenset()
    values = _walked(values, known, reading, where, tally, also)
    if reason := said.left_out() or unchosen:
        tally.left_out[reason] += 1
        if said.deleted:
            tally.rejected |= _deleted_ids(row, values, reading, where)
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
    source_row = SourceRow(item.values, reading, where, tally)
    count_empty_turns(whole, own, tally)
    _note_companions(values, own, found, known, source_row)
    ratings, found = rated_turns(found, said, source_row)
    made = [*ratings, *(corrected_rows(found, said, source_row) if found else ())]
    if any(isinstance(one.row, Rating | Comparison) for one in made):
        for key, value in unread_times(values, own | also, reading):
            count_key(tally.times, key, Seen(1, where, format_sample(value)))
    for one in made:
        if isinstance(one.row, Rating | Comparison):
            check_annotators(item.values, reading, where)
        if isinstance(one.row, Comparison) and "chosen" in own:
            leaves = (leaf for key, value in whole.items() for leaf in leaves_of(key, value, 0))
            if check_side_scores(leaves, reading, where) and one.row.choice != "tie":
                tally.left_out[EQUAL] += 1
                one = one._replace(row=as_tie(one.row))
        yield one


def _deleted_ids(row: Row, values: Mapping[str, Any], reading: ParseOptions, where: str) -> set[str]:
    """Return the rejection id of the record that a deleted row would make.

    An earlier export may have it unmarked. Of a conversation it is the last answer's: another conversation
    may share the earlier ones.
    """
    try:
        found = list(row(values, reading, where))
    except (UserError, MaskedAnswer):
        # A deleted row need not be readable.
        return set()
    return {rejection_id(one.row) for one in found[-1:] if not one.anonymous}


def _note_companions(
    values: Mapping[str, Any], own: frozenset[str], found: Sequence[ParsedRow], known: Keys, row: SourceRow
) -> None:
    """Ask about keys without which the first record of a row would be learned as something else."""
    # A conversation says all that belongs to it in its turns.
    if known.turns:
        return
    fields = row.reading.fields
    for key, value, kind in companions_of(values, own, found[0].row, row.reading.columns):
        if fields.get(key) not in ("ignore", "text"):
            row.tally.note_companion(key, value, row.where, kind)


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
        if isinstance(value, str | list | dict) and reading.fields.get(key) != "text":
            parts = text_of_parts(value)
            value = value if parts is None else parts
        if isinstance(value, str):
            if _RETURN in value and reading.fields.get(key) != "text":
                value, count = _BREAK.subn("", value)
                tally.left_out[RETURNS] += count
            if is_null_word(value):
                tally.note_word(key, value, where)
                value = None if key in optional else value
            elif holds_turns_text(value):
                try:
                    value = turns_of(value)
                except ValueError as error:
                    what = (
                        "holds printed Python objects"
                        if holds_objects(value)
                        else "begins as a list of turns"
                    )
                    raise UserError(
                        f"{where}: {key} {what} and cannot be read "
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
    names = {column: name for name, column in reading.columns.items()}
    found = dict(values)
    for key, value in values.items():
        if key not in own:
            count_unread(key, value, reading, where, tally)
        # Objects under `scores` are no turns: a question about their speakers would mislead.
        elif is_turn_list(value) and names.get(key, key) not in NO_TEXTS:
            rated = bool(known.turns) and key == reading.column(known.turns)
            found[key] = walk_turns(key, value, reading, where, tally, rated)
        elif isinstance(value, dict) and key in known.inside:
            inner = dict(value)
            for name, held in value.items():
                if name not in known.inside[key]:
                    count_unread(f"{key}.{name}", held, reading, where, tally)
                elif is_turn_list(held):
                    inner[name] = walk_turns(f"{key}.{name}", held, reading, where, tally)
            found[key] = inner
    return found
