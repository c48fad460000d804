"""Test reading the group of a row without parsing the row."""

from __future__ import annotations

import pytest

from tasks.data.groups import group_of
from tasks.data.records import canonical_line, pair_row, text_row


@pytest.mark.parametrize("group", ["abc", "", 'a "quote" \\ and \n', "ünïcode", '","group":"other', "\u2028"])
def test_group_of_any_text_around_is_read_exactly(group: str) -> None:
    trap = 'the key is "group":"none" and \\"group\\":\\"none\\"'
    turns = [{"role": "user", "content": trap}]
    for row in (
        text_row(trap, "a source", group or "given"),
        pair_row(trap, trap, trap, group, history=turns),
    ):
        assert group_of(canonical_line(row).encode()) == row.group


def test_group_of_line_that_is_not_canonical_is_read() -> None:
    assert group_of(b'{"id": "1", "group": "mine", "text": "x"}') == "mine"
