"""Read the choice of a row with two answers, and find the rows without one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.label_checks import chosen_side, is_loose_margin, is_margin
from tasks.data.parsing.row_verdicts import note_empty_votes, side_votes
from tasks.data.parsing.side_columns import named_sides
from tasks.data.parsing.unread_keys import leaves_of
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.values.choices import TIES, different_parts, is_undecided, paired_columns, plain_choice
from tasks.data.values.column_names import names_worse
from tasks.data.values.field_meanings import SIDES, flatten_name, is_empty, plain_word, word_set
from tasks.data.values.key_paths import find_keys, with_value
from tasks.data.values.score_values import as_score
from tasks.data.values.value_meanings import mapped_value, maps_empty
from tasks.data.verdicts.doubt_flags import tells_other_order

UNDECIDED = "comparisons without a decision, such as skip or unsure"
SAME_MODEL = "comparisons of two answers of one model, whose choice names that model"
_EXPECTED = "a choice such as a, b or tie, or a mapping of the values in fields, as in {1: a, 2: b}"
# Words of a question about two answers. Without one, 0 and 1 in a column may mean anything.
_COMPARED = word_set(
    """
    better best choice chosen clearer clearest closer faster friendlier funnier kinder more most nicer picked
    politer preferred safer safest simpler smarter stronger truer warmer winner worse worst
    """
)
# Names of what a comparison is about, as `topic: draw`.
_TOPICS = word_set("category class domain genre kind prompt source subject tag tags task theme topic type")
_MODELS = word_set("agent author bot checkpoint engine generator llm model policy provider system vendor")


def read_choice(
    values: dict[str, Any], own: frozenset[str], reading: ParseOptions, where: str, tally: SkipCounts
) -> tuple[dict[str, Any], str]:
    """Return a row with its choice as a, b or tie, and the reason if it is left out for want of one.

    A mapping in the source's `fields` has precedence. A number or a word that names no side stays in the row,
    and is asked about when all rows are counted.
    """
    values = _read_votes(values, reading, where, tally)
    key = reading.column("choice")
    if not {key, reading.column("a"), reading.column("b")} <= own & values.keys():
        return values, ""
    value, meaning = values[key], reading.fields.get(key)
    if is_empty(value) and not maps_empty(meaning):
        return values, f"comparisons that nobody judged, as {key} is empty"
    if not isinstance(value, str | int | float | None):
        return values, ""
    if isinstance(meaning, Mapping):
        tally.used.add(key)
        said = mapped_value(value, meaning)
        if said in (*SIDES, "ignore"):
            return {**values, key: said}, UNDECIDED if said == "ignore" else ""
    choice = plain_choice(value, reading.columns)
    if choice in ("a", "b") and names_worse(key) and not isinstance(meaning, Mapping):
        # Under `Worse` the side is that of the worse answer, also if `columns` calls it the choice.
        tally.note_worse(key, value, choice, where)
        return values, ""
    if choice in ("a", "b") and isinstance(value, str) and as_score(value) is None:
        # A model may be called A and have written answer b.
        side, told = named_sides(value, values, reading.column("a"), reading.column("b"))
        if told and side != choice:
            tally.note_unclear_side(key, value, where)
        values = _without(values, told or (), own)
    if choice in SIDES:
        tally.note_choice_number(key, value)
        return {**values, key: _as_mapped(choice, meaning)}, ""
    if value is not None:
        side, told = named_sides(value, values, reading.column("a"), reading.column("b"))
        if told and len(side) > 1:
            return values, SAME_MODEL
        if told:
            return {**_without(values, told, own), key: _as_mapped(side, meaning)}, ""
    if isinstance(value, str) and is_undecided(value):
        return values, UNDECIDED
    tally.note_choice(key, value, where)
    return values, ""


def _as_mapped(side: str, meaning: Any) -> str:
    """Return what a mapping says about a side, also if the row names it as `response_a`; else the side."""
    said = mapped_value(side, meaning) if isinstance(meaning, Mapping) else None
    return said if said in SIDES else side


def _read_votes(
    values: dict[str, Any], reading: ParseOptions, where: str, tally: SkipCounts
) -> dict[str, Any]:
    """Return a row of two answers with the choices in people's columns as a, b or tie, and None for none.

    A cell that names no side is counted. It costs this person's choice alone.
    """
    votes = side_votes(values, reading)
    # Two answers without a choice: columns of votes can only hold the choices.
    a, b = reading.column("a"), reading.column("b")
    two = a in values and b in values and reading.column("choice") not in values
    tally.compared = tally.compared or bool(votes) or two
    if two:
        tally.numbered |= {part for part in different_parts(a, b) or () if part.isdigit()}
    note_empty_votes(votes.items(), reading, tally)
    for path, value in votes.items():
        meaning, told_path = reading.fields[path], reading.told_path(path)
        if is_empty(value) and not maps_empty(meaning):
            continue
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        said = mapped_value(value, meaning) if isinstance(meaning, Mapping) else None
        choice = _as_mapped(plain_choice(value, reading.columns), meaning) if said is None else said
        undecided = choice == "ignore" or (isinstance(value, str) and is_undecided(value))
        if choice in SIDES:
            tally.votes.read[told_path] += 1
        elif undecided:
            tally.left_out[UNDECIDED] += 1
            tally.votes.note_undecided(told_path, value, where)
        else:
            # With its names, as a choice may also name what wrote an answer.
            side, told = named_sides(value, values, a, b)
            if told and len(side) == 1:
                choice = _as_mapped(side, meaning)
                tally.votes.read[told_path] += 1
            elif told:
                tally.left_out[SAME_MODEL] += 1
            else:
                tally.votes.note(told_path, value, where, _EXPECTED)
        keys = find_keys(values, path)
        assert keys is not None
        values = with_value(values, keys, choice if choice in SIDES else None)
    return values


def _without(values: dict[str, Any], told: Collection[str], own: frozenset[str]) -> dict[str, Any]:
    """Return a row without the columns that told its choice, which need not be listed as unused."""
    return {name: held for name, held in values.items() if name not in told or name in own}


def note_other_choices(
    values: Mapping[str, Any], own: frozenset[str], reading: ParseOptions, tally: SkipCounts
) -> None:
    """Count the keys beside a choice whose values name a side too: a choice by another person or question."""
    key, a, b = (reading.column(name) for name in ("choice", "a", "b"))
    if {"chosen", "rejected"} <= own or ({key, a, b} <= own & values.keys() and values[key] in ("a", "b")):
        _note_doubts(values, own, reading, values.get(key), tally)
    if not {key, a, b} <= own & values.keys():
        return
    asked = _COMPARED | set(flatten_name(key).split("_"))
    answers = paired_columns(values, a, b)
    for name, value in values.items():
        known = name in own or name in reading.fields or is_empty(value)
        if known or isinstance(value, bool) or not isinstance(value, str | int | float):
            continue
        words = set(flatten_name(name).split("_"))
        # A model may be called A, as `model_b: A`, without a word of a comparison in the column's name.
        if words & _MODELS and not words & asked:
            continue
        side = _mapped_side(value, reading, key)
        if not side:
            pairs = ((values[one], values[other]) for one, other in answers if name not in (one, other))
            side = next(
                ("ab"[pair.index(value)] for pair in pairs if value in pair and pair[0] != pair[1]), ""
            )
        if side and (as_score(value) is None or asked & words):
            tally.note_side(name, side)


def _note_doubts(
    values: Mapping[str, Any], own: frozenset[str], reading: ParseOptions, choice: Any, tally: SkipCounts
) -> None:
    """Count the keys beside a choice that call the comparison a tie or turn it round, and odd margins.

    Of a probability the margin is its distance from one half.
    """
    chosen = {"chosen", "rejected"} <= own
    for name, value in _single_values(values):
        if name in own or name in reading.fields or isinstance(value, bool):
            continue
        words = set(flatten_name(name).split("_"))
        tied = isinstance(value, str) and not words & _TOPICS and plain_word(value) in TIES
        if tied or tells_other_order(name, value):
            tally.ties.add(name)
        # Beside `chosen` and `rejected`, `check_side_scores` reads what is surely a margin.
        margin = as_score(value) if is_loose_margin(name) or (is_margin(name) and not chosen) else None
        if not chosen and chosen_side(name) and (share := as_score(value)) is not None and 0 <= share <= 1:
            margin = share - 0.5
        if margin is not None and (chosen or choice in ("a", "b")):
            tally.note_margin(name, margin, "a" if chosen else choice)


def _single_values(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys of a row with their values, also of the objects in it."""
    for name, value in values.items():
        yield from leaves_of(name, value, 0) if isinstance(value, Mapping) else [(name, value)]


def _mapped_side(value: str | int | float, reading: ParseOptions, key: str) -> str:
    """Return the side that a value names as the choice under `key` would; empty for none."""
    meaning = reading.fields.get(key)
    said = mapped_value(value, meaning) if isinstance(meaning, Mapping) else None
    said = said if said in SIDES else plain_choice(value, reading.columns)
    return str(said) if said in SIDES else ""
