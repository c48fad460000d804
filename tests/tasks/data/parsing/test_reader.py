"""Test the checks that records of every format pass."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.data.records import Rating
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
