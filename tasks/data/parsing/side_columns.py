"""Find columns about each of two answers, as `model_a` and `model_b`, and the choice that they tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tasks.data.parsing.base import ParseOptions
from tasks.data.values.choices import different_parts, paired_columns
from tasks.data.values.column_names import SIDE_WORDS
from tasks.data.values.field_meanings import (
    HIGHER_IS_BETTER,
    LOWER_IS_BETTER,
    flatten_name,
    is_empty,
    word_set,
)
from tasks.data.values.scale_direction import LOWER, scale_direction
from tasks.data.values.score_values import as_score
from tasks.data.values.value_meanings import read_meaning

# Words of columns that name what wrote an answer, or the answer itself.
_IDENTITIES = word_set(
    """
    agent author bot checkpoint company engine generator id key llm modell modelo modèle model name policy
    provider slug source system uid uuid variant vendor version
    """
)


def side_columns(names: Iterable[str], a: str, b: str) -> list[tuple[str, str]]:
    """Return the pairs of columns about answer a and answer b, without the answers.

    Args:
        names: The columns of a row.
        a: The column of the first answer.
        b: That of the second.
    """
    return list(_side_columns(tuple(names), a, b))


@lru_cache(maxsize=256)
def _side_columns(names: tuple[str, ...], a: str, b: str) -> tuple[tuple[str, str], ...]:
    found = paired_columns(names, a, b)[1:]
    first = True
    if (parts := different_parts(a, b)) is not None:
        order = next((words for words in SIDE_WORDS if set(parts) == set(words)), parts)
        first = parts[0] == order[0]
    flat = {flatten_name(name): name for name in names}
    for name, own in flat.items():
        words = name.split("_")
        for one, other in SIDE_WORDS:
            twin = flat.get("_".join(other if word == one else word for word in words))
            pair = (own, twin) if first else (twin, own)
            if one in words and twin is not None and twin != own and not {own, twin} & {a, b}:
                # Names with the same words for the sides as the answers come first.
                known = {column for both in found for column in both}
                if own not in known and twin not in known:
                    found.append((str(pair[0]), str(pair[1])))
    return tuple(found)


def named_sides(value: Any, values: Mapping[str, Any], a: str, b: str) -> tuple[str, tuple[str, str] | None]:
    """Return the sides that a choice names by a model or by an id, and the columns that say so.

    Args:
        value: The choice.
        values: The row.
        a: The column of the first answer.
        b: That of the second.

    Returns:
        a, b, or `ab` if both answers have the name; else empty, without columns.
    """
    wanted = _slug(value)
    if not wanted:
        return "", None
    for one, other in side_columns(values, a, b):
        if not set(flatten_name(one).split("_")) & _IDENTITIES:
            continue
        names = [_names_of(values[one]), _names_of(values[other])]
        for found in ([wanted in some for some in names], [_is_tail(wanted, some) for some in names]):
            if any(found):
                return "".join(side for side, held in zip("ab", found, strict=True) if held), (one, other)
    return "", None


def _names_of(value: Any) -> list[str]:
    held = value.values() if isinstance(value, Mapping) else [value]
    return [slug for slug in map(_slug, held) if slug]


def _slug(value: Any) -> str:
    """Return a name in lower case with a slash between its parts, without spaces and other marks."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    parts = (re.sub(r"[\W_]+", "", part) for part in str(value).casefold().split("/"))
    return "/".join(filter(None, parts))


def _is_tail(wanted: str, names: Sequence[str]) -> bool:
    """Return whether a name is another one without its organisation, as gpt-4o for openai/gpt-4o."""
    return any(name.endswith(f"/{wanted}") or wanted.endswith(f"/{name}") for name in names)


def side_scores(values: Iterable[str], reading: ParseOptions) -> tuple[str, str] | None:
    """Return the columns of the scores of both answers that `fields` declares, in a row without a choice.

    Both have the meaning `verdict`, or both `penalty`, for which lower is better.
    """
    names = set(values)
    a, b, choice = (reading.column(name) for name in ("a", "b", "choice"))
    known = {reading.columns.get(name, name) for name in names}
    if {choice, "choice"} & names or not {a, b} <= names | known:
        return None
    for one, other in side_columns(reading.fields, a, b):
        meanings = {
            reading.fields[one] if isinstance(reading.fields[one], str) else "" for one in (one, other)
        }
        if len(meanings) == 1 and meanings <= {"verdict", "penalty"} and names & {one, other}:
            return one, other
    return None


def scored_choice(values: Mapping[str, Any], reading: ParseOptions, one: str, other: str) -> str | None:
    """Return the choice that the scores of two answers tell; None if a score is missing or none."""
    scores = []
    for name in (one, other):
        value = values.get(name)
        read = None if is_empty(value) else read_meaning(name, reading.fields[name], value)
        if read is None:
            return None
        scores.append(float(read[1]))
    return "tie" if scores[0] == scores[1] else "a" if scores[0] > scores[1] else "b"


def propose_scores(columns: Mapping[str, Collection[Any]], a: str, b: str) -> dict[str, str]:
    """Return the meanings of two columns of ranks or scores of both answers; empty if there are none.

    Args:
        columns: The values of each column.
        a: The column of the first answer.
        b: That of the second.
    """
    found = []
    for one, other in side_columns(columns, a, b):
        given = [value for name in (one, other) for value in columns[name] if not is_empty(value)]
        if not given or not all(as_score(value) is not None for value in given):
            continue
        words = set(flatten_name(one).split("_"))
        direction = scale_direction(one, list(map(str, given)))
        if direction == LOWER or (not direction and words & (LOWER_IS_BETTER | {"place", "rang"})):
            found.append((0, {one: "penalty", other: "penalty"}))
        elif direction or words & HIGHER_IS_BETTER:
            found.append((1, {one: "verdict", other: "verdict"}))
    return min(found, key=lambda each: each[0])[1] if found else {}
