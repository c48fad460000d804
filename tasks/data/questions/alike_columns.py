"""Find columns that are like people's votes in their values and spelling, though a word of them is a measure.

`Max Roth` and `Mia Page` are people, and `max` and `page` are also names of numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from tasks.data.questions.vote_cells import VoteCells
from tasks.data.values.field_meanings import flatten_name
from tasks.data.verdicts.ordinary_columns import is_all_ordinary

_TITLE, _INITIAL = "Anna Berg", "anna_b"
_SMALL = 10  # the highest number of a scale that tells votes from amounts without a person beside them
_FEWEST = 5  # cells that show the ends of a scale
_GAPS = re.compile(r"[\s_.\-]+")


def alike_columns(
    others: Mapping[str, VoteCells],
    people: Mapping[str, VoteCells],
    names: Mapping[str, str],
    holders: Mapping[str, str],
) -> list[str]:
    """Return those of the other columns that are votes like the columns beside them.

    A column needs a person's column with the same scale and spelling beside it, or one like itself.

    Args:
        others: The cells of columns that hold votes by their values alone.
        people: The cells of columns that are votes by their names too.
        names: The own key of each column.
        holders: The path of the object around each column.
    """
    groups: dict[tuple[str, str, str], tuple[list[VoteCells], list[str]]] = {}

    def group_of(path: str, cells: VoteCells) -> tuple[list[VoteCells], list[str]]:
        key = (holders[path], _scale_of(cells), shape_of(names[path]))
        return groups.setdefault(key, ([], []))

    for path, cells in people.items():
        group_of(path, cells)[0].append(cells)
    for path, cells in others.items():
        # A name of measures alone, as `page_count`, makes no other column a person's.
        if not is_all_ordinary(names[path]):
            group_of(path, cells)[1].append(path)
    found = []
    for path, cells in others.items():
        beside, twins = group_of(path, cells)
        if _is_alike(names[path], cells, beside, [others[one] for one in twins if one != path]):
            found.append(path)
    return found


def _is_alike(
    name: str, cells: VoteCells, people: Collection[VoteCells], twins: Collection[VoteCells]
) -> bool:
    shape, ordinary = shape_of(name), is_all_ordinary(name)
    if shape in (_TITLE, _INITIAL):
        small = not cells.has_numbers or cells.high <= _SMALL
        return bool(people) or (shape == _TITLE and not ordinary and small and bool(twins))
    # The names of settings are spelled like this too, so the numbers must have the same ends.
    if not _are_whole_numbers(cells):
        return False
    same = sum((one.low, one.high) == (cells.low, cells.high) for one in people)
    if same:
        return same > 1 or not ordinary
    return (
        has_scale_ends(cells)
        and not ordinary
        and any((one.low, one.high) == (cells.low, cells.high) for one in twins)
    )


def _are_whole_numbers(cells: VoteCells) -> bool:
    return cells.has_numbers and cells.whole and not cells.ones and cells.kinds["number"] >= _FEWEST


def has_scale_ends(cells: VoteCells) -> bool:
    """Return whether a column has whole numbers with the ends of a usual scale, as 1 and 5."""
    return _are_whole_numbers(cells) and cells.low in (0, 1) and cells.high in (5, 7, 10)


def _scale_of(cells: VoteCells) -> str:
    """Return the scale of a column's votes in a word."""
    if not cells.has_numbers or cells.ones:
        return "flags" if cells.flags else "letters" if cells.lettered else "words"
    if cells.low < 0:
        return "signed"
    return "5" if cells.high <= 5 else "10" if cells.high <= _SMALL else "100"


@lru_cache(maxsize=4096)
def shape_of(name: str) -> str:
    """Return how a name is spelled: capitalised words, a word with an initial, one word, or several."""
    parts = [part for part in _GAPS.split(name.strip()) if part]
    long = [part for part in parts if len(part) > 1]
    if len(parts) == 2 and len(long) == 1 and all(part.isalpha() for part in parts):
        return _INITIAL
    if 2 <= len(parts) <= 4 and re.search(r"\s", name.strip()) and all(part[0].isupper() for part in parts):
        return _TITLE
    return "anna" if len(flatten_name(name).split("_")) == 1 else "anna_berg"
