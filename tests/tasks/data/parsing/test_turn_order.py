"""Test the order of the turns of conversations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.data.parsing.row_reader import read

SAID = [("user", "A bird?"), ("assistant", "A robin."), ("user", "And a fish?"), ("assistant", "A carp.")]


def _turns(key: str, values: list[Any], newest_first: bool) -> list[dict[str, Any]]:
    turns = [
        {"role": role, "content": text, key: value} for (role, text), value in zip(SAID, values, strict=True)
    ]
    return turns[::-1] if newest_first else turns


@pytest.mark.parametrize("name", ["messages", "conversations"])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("created_at", ["2024-01-01T10:00Z", "2024-01-01T10:01Z", "2024-01-01T10:02", "2024-01-01T12:30+02"]),
        ("ts", ["1700000000.1", "1700000010.1", "1700000020.1", "1700000030.1"]),
        ("timestamp", [1700000000000, 1700000010000, 1700000020000, 1700000030000]),
        ("turn", [1, 2, 3, 4]),
        ("messageIndex", ["0", "1", "2", "3"]),
    ],
)  # fmt: skip
def test_read_rows_conversation_with_newest_turn_first_is_quarantined(
    name: str, key: str, values: list[Any]
) -> None:
    rows = [{name: _turns(key, values, newest_first)} for newest_first in (False, True)]
    found, tally = read(*rows, format="messages", columns={} if name == "messages" else {"messages": name})
    assert [bool(one.row.fault) for one in found] == [False, False, True]
    assert f"the turns are not in the order of {key}: turn 2 comes before turn 1" in tally.first_fault
    fields: dict[str, Any] = {f"{name}[].{key}": "ignore"}
    columns = {} if name == "messages" else {"messages": name}
    found, tally = read(*rows, format="messages", columns=columns, fields=fields)
    tally.check("mine", fields)
    assert not any(one.row.fault for one in found)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("created_at", ["2024-01-01T10:00:00.9", "2024-01-01T10:00:00.1", "2024-01-01T10:02", "2024-01-02"]),
        ("updated_at", ["2024-01-04", "2024-01-03", "2024-01-02", "2024-01-01"]),
        ("created_at", ["2024-01-04", None, "2024-01-02", "2024-01-01"]),
        ("created_at", ["yesterday", "today", "now", "then"]),
        ("turn", [1, 1, 2, 2]),
        ("index", [0, 0, 1, 0]),
        ("timestamp", [1700000000123, 1700000000120, 1700000020000, 1700000030000]),
        ("date", ["nan", "inf", "-inf", "0"]),
    ],
)  # fmt: skip
def test_read_rows_conversation_without_another_order_is_read(key: str, values: list[Any]) -> None:
    found, tally = read({"messages": _turns(key, values, newest_first=False)})
    tally.check("mine")
    assert [one.row.fault for one in found] == ["", ""]
