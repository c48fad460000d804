"""Test columns of people who vote in different ways, of whom none may be lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.data.parsing.row_reader import read

_NUMBERS = [1, 5, 4, 2, 5, 1]


def _asked(**columns: list[Any]) -> dict[str, str]:
    rows = [
        {
            "prompt": f"Name bird {n}.",
            "completion": "A robin.",
            **{key: held[n] for key, held in columns.items()},
        }
        for n in range(len(_NUMBERS))
    ]
    _, tally = read(*rows)
    return tally.propose_all(tally.asks())


@pytest.mark.parametrize(
    "ben",
    [
        ["👎", "👍", "👍", "👎", "👍", "👎"],
        ["bad", "good", "good", "bad", "good", "bad"],
        ["A", "C", "B", "C", "A", "D"],
        ["B+", "C", "A-", "C", "A", "D"],
    ],
)
def test_find_vote_columns_people_with_other_kinds_of_votes_are_all_asked(ben: list[str]) -> None:
    assert _asked(anna=_NUMBERS, ben=ben) == {"anna": "vote", "ben": "vote"}


def test_find_vote_columns_three_kinds_of_votes_are_all_asked() -> None:
    cleo = ["👎", "👍", "👍", "👎", "👍", "👎"]
    said = _asked(anna=_NUMBERS, ben=["no", "yes", "yes", "no", "yes", "no"], cleo=cleo)
    assert said == {"anna": "vote", "ben": "vote", "cleo": "vote"}


@pytest.mark.parametrize("remark", ["great answer!", "good", "terrible", "✅"])
def test_find_vote_columns_remark_among_numbers_loses_no_other_votes(remark: str) -> None:
    anna = [*_NUMBERS[:3], remark, *_NUMBERS[4:]]
    assert _asked(anna=anna, ben=_NUMBERS[::-1]) == {"anna": "vote", "ben": "vote"}


@pytest.mark.parametrize(
    "columns",
    [
        {"section": ["A", "C", "B", "C", "A", "D"], "hops": _NUMBERS},
        {"hall": ["A", "C", "B", "C", "A", "D"], "depth": _NUMBERS},
        {"grid": ["A", "C", "B", "C", "A", "D"], "Progress": [100] * 6},
    ],
)
def test_find_vote_columns_letters_beside_measures_are_no_votes(columns: dict[str, list[Any]]) -> None:
    assert _asked(**columns) == {}


def test_find_vote_columns_progress_of_a_survey_is_no_vote() -> None:
    assert _asked(Q3_1=_NUMBERS, Q3_2=_NUMBERS, Progress=[100] * 6) == {"Q3_1": "vote", "Q3_2": "vote"}


@pytest.mark.parametrize("name", ["notes", "remark", "Bemerkung", "reason"])
def test_find_vote_columns_remarks_like_ties_are_no_votes(name: str) -> None:
    remarks = ["both good", "same", "equal answers", "both are fine", "no difference", "both bad"]
    anna, ben = ["a", "b", "a", "tie", "b", "a"], ["b", "b", "a", "a", "tie", "tie"]
    rows = [
        {"prompt": f"Name bird {n}.", "a": "A robin.", "b": "A wren.", "anna": one, "ben": two, name: remark}
        for n, (one, two, remark) in enumerate(zip(anna, ben, remarks, strict=True))
    ]
    _, tally = read(*rows, format="rows")
    assert tally.propose_all(tally.asks()) == {"anna": "vote", "ben": "vote"}
    # A person who found all alike, and choices under such a name, are votes.
    for key, values in (("cleo", ["tie"] * 6), (name, anna)):
        _, tally = read(
            *({**row, key: value} for row, value in zip(rows, values, strict=True)), format="rows"
        )
        assert tally.propose_all(tally.asks()) == {"anna": "vote", "ben": "vote", key: "vote"}
