"""Test scales of verdicts, and numbers that are on none."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.data.parsing.verdict_scales import PENALTIES, WORDS, exceeds_scale, scale_of
from tasks.data.records import Rating
from tests.tasks.data.parsing.row_reader import read

_ROW = {"prompt": "Name a bird.", "completion": "A robin."}


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("stars", [3, 0, 4120]),
        ("stars", ["2", "57"]),
        ("star_rating", [5, 11]),
        ("grade", [7, 12]),
        ("grade", [4, 480]),
    ],
)
def test_read_rows_number_above_every_scale_is_asked_about(key: str, values: list[Any]) -> None:
    rows = [{**_ROW, "prompt": f"Name bird {n}.", key: value} for n, value in enumerate(values)]
    _, tally = read(*rows)
    assert tally.propose_all(tally.asks()) == {key: "..."}
    for meaning, ratings in (("ignore", 0), ("verdict", len(values))):
        found, tally = read(*rows, fields={key: meaning})
        tally.check("mine", {key: meaning})
        assert sum(isinstance(one.row, Rating) for one in found) == ratings


@pytest.mark.parametrize(
    ("key", "value"),
    [("stars", 5), ("stars", "8/10"), ("stars", "80%"), ("grade", 85), ("grade", 9), ("rating", 1200)],
)
def test_exceeds_scale_rating_is_on_one(key: str, value: Any) -> None:
    assert not exceeds_scale(key, value)


@pytest.mark.parametrize(
    ("value", "scale"), [(True, WORDS), ("no", WORDS), (1, PENALTIES), ("3", PENALTIES), (0.5, PENALTIES)]
)
def test_scale_of_flag_against_an_answer_is_a_word(value: Any, scale: str) -> None:
    assert scale_of(value, "penalty") == scale
