"""Test what the cells of a column are counted as."""

from __future__ import annotations

import pytest

from tasks.data.questions.vote_cells import VoteCells


@pytest.mark.parametrize("huge", [1e308, -1.7e308, 10**308, "1e308", 1.8e307])
def test_vote_cells_huge_numbers_are_no_votes(huge: object) -> None:
    cells = VoteCells()
    for value in (huge, 2, 3):
        cells.note(value)
    assert not cells.are_votes(0.2, signed=False)
    assert not cells.fine


@pytest.mark.parametrize(("number", "fine"), [(4, False), (4.5, False), (4.25, True), (1e15 + 0.25, False)])
def test_vote_cells_decimals_decide_fine(number: float, fine: bool) -> None:
    cells = VoteCells()
    cells.note(number)
    assert cells.fine is fine
