"""Test two columns that say the opposite of each other about an answer, as flags, marks or counts."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tasks.data.records import Rating
from tasks.data.values.several_scores import find_counts
from tests.tasks.data.parsing.row_reader import read

_ROW = {"prompt": "Name a bird.", "completion": "A robin."}


def _rows(good: str, bad: str, yes: Any, no: Any) -> list[dict[str, Any]]:
    return [
        {**_ROW, "prompt": f"Name bird {n}.", good: yes if n % 3 else no, bad: no if n % 3 else yes}
        for n in range(6)
    ]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("correct", "incorrect"), ("Approve", "Reject"), ("pass", "fail"), ("up", "down"), ("win", "lose"),
        ("reviewer.agree", "reviewer.disagree"), ("votes_for", "votes_against"), ("true", "false"),
        ("is_helpful", "is_unhelpful"), ("yes", "no"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("yes", "no"), [(True, False), ("true", "false"), (2, 0), ("x", ""), ("ja", "nein")])
def test_propose_all_opposite_columns_are_votes_for_and_against(
    good: str, bad: str, yes: Any, no: Any
) -> None:
    rows = _rows(good, bad, yes, no)
    _, tally = read(*rows)
    said = tally.propose_all(tally.asks())
    assert said == {good: "upvotes", bad: "downvotes"}
    fields = {path: yaml.safe_load(meaning) for path, meaning in said.items()}
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    scores = [set(one.row.scores) for one in found if isinstance(one.row, Rating)]
    assert scores == [{1.0} if n % 3 else {-1.0} for n in range(6)]


def test_read_rows_neither_of_two_opposite_flags_is_no_vote() -> None:
    fields = {"correct": "upvotes", "incorrect": "downvotes"}
    found, tally = read({**_ROW, "correct": False, "incorrect": False}, format="rows", fields=fields)
    assert not found and tally.left_out["pairs without a vote for or against them"] == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"correct": {"true"}, "right": {"true"}, "incorrect": {"false"}},
        {"a.correct": {"true"}, "b.incorrect": {"false"}},
        {"messages[].up": {"1"}, "messages[].down": {"0"}},
        {"correct": {"a word"}, "incorrect": {"true"}},
        {"correct_answer": {"1"}, "page": {"0"}},
    ],
)
def test_find_counts_columns_that_are_no_opposites_are_none(columns: dict[str, set[str]]) -> None:
    assert find_counts(columns) == {}


@pytest.mark.parametrize(
    ("good", "bad"), [("thumbsup", "thumbsdown"), ("+1", "-1"), ("👍", "👎"), ("thumb_up", "thumb_down")]
)
@pytest.mark.parametrize("others", [{}, {"heart": 2, "laugh": 0}])
def test_propose_all_object_of_reactions_is_votes_for_and_against(
    good: str, bad: str, others: dict[str, int]
) -> None:
    rows = [
        {**_ROW, "prompt": f"Name bird {n}.", "reactions": {good if n % 3 else bad: 1 + n % 2, **others}}
        for n in range(6)
    ]
    _, tally = read(*rows)
    said = tally.propose_all(tally.asks())
    votes = {f"reactions.{good}": "upvotes", f"reactions.{bad}": "downvotes"}
    assert said == votes | {f"reactions.{name}": "ignore" for name in others}
    found, tally = read(*rows, fields=said)
    tally.check("mine", said)
    assert [one.row.scores[0] for one in found if isinstance(one.row, Rating)] == [-1, 1, 1, -1, 1, 1]
