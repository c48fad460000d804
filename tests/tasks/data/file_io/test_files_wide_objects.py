"""Objects with very many keys: each is one row that cannot be read, and the rows around it are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord
from tasks.data.file_io.json_stream import has_more_keys
from tasks.data.file_io.tables import MOST_COLUMNS

SOUND = {"text": "a b c"}
WIDE: list[dict[str, Any]] = [
    {"text": "a", **{f"k{n}": n for n in range(MOST_COLUMNS)}},
    {"text": "a", "meta": {f"k{n}": n for n in range(MOST_COLUMNS)}},
    {"text": "a", "meta": [{f"k{n}": {"x": n}} for n in range(MOST_COLUMNS)]},
    {"text": "a", "meta": {f"k{n}": {f"x{m}": m for m in range(100)} for n in range(50)}},
]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a"])
@pytest.mark.parametrize("row", WIDE)
def test_source_file_all_items_too_many_keys_break_one_row(name: str, row: dict[str, Any]) -> None:
    rows = [SOUND, row, SOUND]
    text = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
    items = list(SourceFile(name, text.encode()).all_items())
    assert [isinstance(one, SourceRecord) for one in items] == [True, False, True]
    broken = items[1]
    assert isinstance(broken, BrokenItem) and "2: more than 4,096 keys, but at most" in broken.fault


@pytest.mark.parametrize("row", WIDE[1:])
def test_source_file_all_items_ignored_key_is_not_counted(row: dict[str, Any]) -> None:
    items = list(SourceFile("a.jsonl", json.dumps(row).encode(), ignored=("meta",)).all_items())
    assert [one.values for one in items if isinstance(one, SourceRecord)] == [{"text": "a"}]


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ({"a": 1, "b": {"a": 1}}, 3), ({"a": [{"x": 1}, {"x": 2}, {"y": 3}]}, 3),
        ({"messages": [{"role": "user", "content": "a"}] * 3000}, 3), ({}, 0),
        ({"a": {"x": 1}, "b": {"x": 1}, "c": [[{"x": 1}], [{"x": 1}]]}, 6),
    ],
)  # fmt: skip
def test_has_more_keys_items_of_lists_share_their_keys(value: dict[str, Any], keys: int) -> None:
    assert not has_more_keys(value, keys) and (keys == 0 or has_more_keys(value, keys - 1))
