"""Test scales of verdicts, and numbers that are on none."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Rating
from tasks.data.values.verdict_scales import PENALTIES, WORDS, exceeds_scale, scale_of
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


@pytest.mark.parametrize("key", ["vote", "thumb", "opinion_of_user"])
@pytest.mark.parametrize("votes", [["+1", "-1", "0"], [1, -1, 0], ["+1", "0", "-1", "+1"]])
def test_find_two_scales_signed_votes_with_a_zero_are_one_scale(key: str, votes: list[Any]) -> None:
    rows = [{"prompt": f"A {n}?", "completion": "B.", key: vote} for n, vote in enumerate(votes)]
    found, tally = read(*rows, fields={key: "verdict"})
    tally.check("mine", {key: "verdict"})
    assert [one.row.scores for one in found] == [[float(vote)] for vote in votes]


def test_skip_counts_check_zero_among_votes_is_said_to_be_read() -> None:
    rows = [
        {"prompt": f"A {n}?", "completion": "B.", "vote": vote} for n, vote in enumerate(("+1", "-1", "0"))
    ]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=r"the key vote is '0'.*vote: verdict}, or ignore"):
        tally.check("mine")
    rows[2]["vote"] = "perhaps"
    _, tally = read(*rows)
    with pytest.raises(UserError, match=r"which quarantines rows with such a value .2 rows with another"):
        tally.check("mine")


@pytest.mark.parametrize("path", ["annotations[].label", "votes[].verdict", "reviews[].decision.status"])
def test_skip_counts_check_verdict_in_list_says_that_ignore_learns_it(path: str) -> None:
    name, inner = path.split("[].")
    held: Any = "bad"
    for part in reversed(inner.split(".")):
        held = {part: held}
    row = {"prompt": "A?", "completion": "B.", name: [held]}
    said = "; ignore on a key in a list learns its rows, whatever the verdict in it"
    _, tally = read(row)
    with pytest.raises(UserError) as error:
        tally.check("mine")
    assert str(error.value).endswith(f"ignore}}{said}")
    _, tally = read({"quality_now": "bad", **row})
    with pytest.raises(UserError) as error:
        tally.check("mine")
    assert str(error.value).count(said) == 1


@pytest.mark.parametrize("key", ["rating", "score", "quality"])
@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([1, 5, -99], "-99"),
        ([3, "4", "999"], "999"),
        ([1, 7, 10, 99], "99"),
        ([1, 4, -1], "-1"),
        ([2, -9], "-9"),
    ],
)
def test_skip_counts_check_number_that_means_no_answer_is_asked_about(
    key: str, values: list[Any], code: str
) -> None:
    rows = [{**_ROW, "prompt": f"Name bird {n}.", key: value} for n, value in enumerate(values)]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=rf"{key} is {code} .*often stands for no answer.*Empty such cells"):
        tally.check("mine")
    rows[-1][key] = ""
    found, tally = read(*rows)
    tally.check("mine")
    assert len(found) == len(values) - 1


@pytest.mark.parametrize("key", ["rating", "score"])
def test_read_rows_mapping_leaves_out_number_that_means_no_answer(key: str) -> None:
    rows = [{**_ROW, "prompt": f"Name bird {n}.", key: value} for n, value in enumerate((1, 5, -99))]
    fields: dict[str, Any] = {key: {"-99": "ignore", "1": 1, "5": 5}}
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[1.0], [5.0]]


@pytest.mark.parametrize(
    "values",
    [[1, 40, 99], [-10, -4, 10, -9], [-3, -1, 3], [1, -1, 0], [20, 999, 400], [-1, 2, -2, 4], [9.5, 3.25]],
)
def test_skip_counts_check_long_scale_has_no_code(values: list[Any]) -> None:
    rows = [{**_ROW, "prompt": f"Name bird {n}.", "score": value} for n, value in enumerate(values)]
    found, tally = read(*rows)
    tally.check("mine")
    assert len(found) == len(values)


@pytest.mark.parametrize("values", [[5, 0, 3], ["4", "0"], [1, 0.0]])
def test_read_rows_no_star_is_asked_about(values: list[Any]) -> None:
    rows = [{**_ROW, "prompt": f"Name bird {n}.", "stars": value} for n, value in enumerate(values)]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=r"the key stars is '?0"):
        tally.check("mine")
