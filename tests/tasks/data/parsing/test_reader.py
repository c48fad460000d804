"""Test the checks that records of every format pass."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.data.records import Comparison, Rating
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"rating": 3.5e38}, {}),
        ({"scores": [-1e300, 2.0]}, {}),
        ({"score": "1e39"}, {}),
        ({"clarity": -2e15}, {"fields": {"clarity": "penalty"}}),
        ({"anna": 1e38, "ben": 4}, {"fields": {"anna": "vote", "ben": "vote"}}),
        ({"label": 4e38}, {"fields": {"label": "verdict"}}),
    ],
)
def test_read_rows_score_beyond_every_scale_costs_its_row(more: dict[str, Any], told: Any) -> None:
    usual = {key: [5.0, 4.0] if isinstance(value, list) else 5 for key, value in more.items()}
    rows = [{**PAIR, "prompt": f"Bird {number}?", **usual} for number in range(3)]
    found, tally = read(*rows[:2], {**PAIR, **more}, rows[2], **told)
    assert [isinstance(one.row, Rating) and one.row.fault[:40] for one in found].count("") == 3
    assert tally.faults == 1 and "a.jsonl, line 3: a score is " in tally.first_fault
    assert "a score is at most 1e+15 from 0; correct it or remove the row" in tally.first_fault


@pytest.mark.parametrize(
    ("scores", "people", "told"),
    [
        ([1, -1], ["ana", "ana "], "ana gives the answer 1 and -1, which contradict each other"),
        (
            [2.5, 0, -3],
            ["ben", "cleo", "ben"],
            "ben gives the answer 2.5 and -3, which contradict each other",
        ),
        ([1, 5], ["ana", "ana"], ""),
        ([1, -1], ["ana", "Ana"], ""),
        ([1, -1], ["unknown", "unknown"], ""),
        ([1, 0], ["ana", "ana"], ""),
    ],
)
def test_read_rows_contradicting_scores_cost_their_row(
    scores: list[float], people: list[str], told: str
) -> None:
    good = {"prompt": "q", "completion": "a", "scores": [1, 2], "annotators": ["ana", "ben"]}
    found, tally = read(good, {**good, "completion": "b", "scores": scores, "annotators": people})
    assert [bool(one.row.fault) for one in found] == [False, bool(told)]
    assert told in found[1].row.fault and tally.faults == bool(told)


@pytest.mark.parametrize("answer", ["same", " same", "two\nlines"])
def test_read_rows_comparisons_of_equal_answers_are_counted(answer: str) -> None:
    rows = [
        {"prompt": "q", "chosen": answer, "rejected": answer},
        {"prompt": "q", "chosen": answer, "rejected": "other"},
    ]
    found, tally = read(*rows, format="preferences")
    assert [isinstance(one.row, Comparison) and one.row.choice == "tie" for one in found] == [True, False]
    assert tally.left_out == {"comparisons of two equal answers, which are ties": 1}
