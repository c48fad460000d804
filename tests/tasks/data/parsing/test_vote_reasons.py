"""Test votes that go on with a reason, as `down: too long`."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.parsing.vote_reasons import split_reason
from tasks.data.records import Rating
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("down: too long", ("down", "too long")),
        ("thumbs down (rude)", ("thumbs down", "rude")),
        ("👎 – no bird", ("👎", "no bird")),
        ("+1: it is short", ("+1", "it is short")),
        ("good. It names a bird", ("good", "It names a bird")),
        ("bad because it is wrong", None),
        ("up: nice, but rude", None),
        ("down: good tone, too long", None),
        ("up to you: fine", None),
        ("down:", None),
        ("1 - wrong", None),
        (5, None),
    ],
)
def test_split_reason_plain_vote_is_split_and_others_are_not(
    cell: Any, wanted: tuple[str, str] | None
) -> None:
    assert split_reason(cell) == wanted


@pytest.mark.parametrize(
    ("key", "meaning"),
    [
        ("vote", None),
        ("thumbs", None),
        ("rating", None),
        ("helpful_vote", "verdict"),
        ("anna", "vote"),
        ("state", {"down": -1, "up": 1}),
        ("meta.vote", "verdict"),
    ],
)
def test_read_rows_vote_with_reason_is_read_and_its_reason_listed(key: str, meaning: Any) -> None:
    cells = ["down: too long", "up - nice", "up", "down (rude)"]
    rows = [{**PAIR, "prompt": f"Bird {n}?", **_nested(key, cell)} for n, cell in enumerate(cells)]
    fields = {"fields": {key: meaning}} if meaning else {}
    found, tally = read(*rows, **fields)
    tally.check("mine", fields.get("fields"))
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[-1.0], [1.0], [1.0], [-1.0]]
    (line,) = tally.lines(fields.get("fields"))
    assert f"{key} (the reason after a vote) (3, as 'too long')" in line


def test_read_rows_turn_vote_with_reason_rates_its_answer() -> None:
    turns = [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "A robin."}]
    rows = [
        {"messages": [turns[0], {**turns[1], "vote": cell}]} for cell in ("down: too long", "up (nice)", "up")
    ]
    fields = {"messages[].vote": "verdict"}
    found, tally = read(*rows, fields=fields)
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[-1.0], [1.0], [1.0]]
    assert "messages[].vote (the reason after a vote) (2, as 'too long')" in next(tally.lines(fields))


@pytest.mark.parametrize("cell", ["down, but nice: rude", "up: it is bad", "no idea: long"])
def test_skip_counts_check_unclear_vote_with_reason_is_asked_about(cell: str) -> None:
    _, tally = read({**PAIR, "vote": "up"}, {**PAIR, "vote": cell})
    with pytest.raises(UserError, match=r"the key vote is .* looks like a verdict"):
        tally.check("mine")


def _nested(path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: _nested(rest, value) if rest else value}
