"""Test the counts of a column's cells by value."""

from __future__ import annotations

import pytest

from tasks.data.questions.value_counts import ValueCounts
from tasks.data.verdicts.verdict_values import LONG


def counts(*values: str) -> ValueCounts:
    """Return the counts of cells with these values."""
    made = ValueCounts()
    for value in values:
        made.note([value])
    return made


@pytest.mark.parametrize(
    ("values", "few"),
    [
        (["a", "b", "a"], {"a", "b"}),
        (["", "a"], {"a"}),
        (["a", "b"] * 4 + [LONG], {"a", "b"}),
        (["a"] * 8 + [LONG] * 4, set()),
        ([f"k{n}" for n in range(20)] * 2, {f"k{n}" for n in range(20)}),
        ([f"k{n}" for n in range(20)], set()),
        ([f"k{n}" for n in range(31)] * 9, set()),
        ([f"k{n}" for n in range(100)] + ["a"] * 900, {"a"}),
    ],
)
def test_value_counts_few_finds_the_kinds(values: list[str], few: set[str]) -> None:
    assert counts(*sorted(values)).few() == few


def test_value_counts_add_equals_the_counts_of_the_whole() -> None:
    values = [f"k{n % 7}" for n in range(50)] + [LONG, "", "k9"]
    whole = counts(*values[:20])
    whole.add(counts(*values[20:]))
    assert whole == counts(*values)
