"""Test counts with their noun, and the kinds of values in messages."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from tasks.common.counts import counted
from tasks.common.value_kinds import kind_of
from tests.tasks.data.parsing.row_reader import read


@pytest.mark.parametrize(
    ("what", "one"),
    [
        ("pairs", "1 pair"), ("people", "1 person"), ("empty rows", "1 empty row"), ("texts", "1 text"),
        ("documents", "1 document"),
        ("choices between answers with equal scores", "1 choice between answers with equal scores"),
        ("earlier answers of conversations", "1 earlier answer of conversations"),
        ("rows, quarantined", "1 row, quarantined"), ("kinds of stones", "1 kinds of stones"),
    ],
)  # fmt: skip
def test_counted_one_is_singular(what: str, one: str) -> None:
    assert counted(1, what) == one
    assert counted(2, what) == f"2 {what}" and counted(1234, what) == f"1,234 {what}"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"), (True, "true"), ("a", "a text"), (2, "a number"), (2.5, "a number"), ([], "a list"),
        ((1,), "a list"), ({}, "an object"), (date(2020, 1, 1), "a date"), (datetime(2020, 1, 1), "a date"),
        (object(), "a value of another kind"),
    ],
)  # fmt: skip
def test_kind_of_value_is_named_without_python(value: Any, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "A?", "chosen": "x", "rejected": None}, "chosen is a text and rejected is null;"),
        ({"prompt": "A?", "chosen": ["x"], "rejected": "y"}, "chosen is a list and"),
        ({"prompt": "A?", "completion": "x", "label": ["a", "b"]}, ""),
        ({"prompt": "A?", "a": "x", "b": "y", "choice": "a", "aspect": ["tone"]}, "aspect is a list;"),
    ],
)  # fmt: skip
def test_read_rows_message_names_no_python_type(row: dict[str, Any], says: str) -> None:
    found, _ = read(row)
    assert says in found[0].row.fault
    assert not any(name in found[0].row.fault for name in ("NoneType", "str ", "dict", "is list", "int;"))


@pytest.mark.parametrize(
    ("count", "says"), [(0, "0 texts"), (1, "1 text"), (2, "2 texts"), (1234, "1,234 texts")]
)
def test_counted_kind_text_has_the_noun_of_its_count(count: int, says: str) -> None:
    assert counted(count, "text") == says
