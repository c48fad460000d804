"""The mapping that is proposed for the values of a choice between two answers."""

from __future__ import annotations

from collections.abc import Collection

from tasks.data.values.column_names import yaml_value
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES

# What only the person who has the data can say. No preset with it is accepted.
UNKNOWN = "..."
# Names that count or list two answers in their order.
_IN_ORDER = (("1", "2"), ("first", "second"), ("left", "right"), ("one", "two"))


def choice_mapping(values: Collection[str], worse: bool = False) -> str:
    """Return a mapping of choices to a and b where their order is plain; else only their list.

    Args:
        values: The different values, in plain words.
        worse: Whether they name the worse answer.
    """
    if LONG in values or len(values) > MOST_VALUES:
        return UNKNOWN
    better, other_side = ("b", "a") if worse else ("a", "b")
    sides = {"a": "b", "b": "a"} if worse else {}
    if worse and set(values) <= sides.keys():
        # One of them may not be in the rows that were looked at.
        values = sides
    for one, other in _IN_ORDER:
        # 1 to 7 are degrees, of which a low one may mean either answer.
        if {one, other} == set(values):
            sides = {one: better, other: other_side}
    ordered = sorted(values, key=lambda value: (as_score(value) or 0, value))
    return f"{{{', '.join(f'{yaml_value(value)}: {sides.get(value, UNKNOWN)}' for value in ordered)}}}"
