"""Passes without gradients take fewer rows if they are long."""

from __future__ import annotations

import pytest

from model.data.chunks import PASS_ROWS, PASS_TOKENS, rows_of_pass


@pytest.mark.parametrize(
    ("rows", "longest", "taken"),
    [
        (PASS_ROWS, 128, PASS_ROWS),
        (PASS_ROWS, PASS_TOKENS // PASS_ROWS, PASS_ROWS),
        (PASS_ROWS, 2048, 8),
        (16, 2048, 8),
        (16, PASS_TOKENS, 1),
        (16, 10 * PASS_TOKENS, 1),
        (16, 0, 16),
    ],
)
def test_rows_of_pass_bounds_its_tokens(rows: int, longest: int, taken: int) -> None:
    assert rows_of_pass(rows, longest) == taken
