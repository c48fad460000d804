"""Test Parquet values that Python cannot hold, and bytes that are texts."""

from __future__ import annotations

import io
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord


def items(**columns: Any) -> list[SourceRecord | BrokenItem]:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"n": [1, 2, 3], **columns}), sink)
    return list(SourceFile("a.parquet", sink.getvalue()).all_items())


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (pyarrow.timestamp("us"), 2**61),
        (pyarrow.timestamp("us", tz="Nowhere/Land"), 5),
        (pyarrow.date32(), 2**31 - 1),
        (pyarrow.duration("s"), 2**62),
    ],
)
def test_batch_rows_time_out_of_range_is_a_number(kind: Any, number: int) -> None:
    found = items(at=pyarrow.array([None, number, number], kind), said=["a", "b", "c"])
    rows = [one.values for one in found if isinstance(one, SourceRecord)]
    assert [(row["at"], row["said"]) for row in rows] == [(None, "a"), (number, "b"), (number, "c")]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pyarrow.array([[1], [2**61], None], pyarrow.list_(pyarrow.timestamp("us"))), "timestamp"),
        (
            pyarrow.array([{"t": 1}, {"t": 2**61}, None], pyarrow.struct([("t", pyarrow.timestamp("us"))])),
            "str",
        ),
        (
            pyarrow.array(
                [[("a", 1)], [("a", 1), ("a", 2)], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())
            ),
            "map",
        ),
    ],
)
def test_batch_rows_unreadable_inner_value_costs_its_row_only(column: Any, said: str) -> None:
    found = items(at=column)
    assert [one.values["n"] for one in found if isinstance(one, SourceRecord)] == [1, 3]
    (broken,) = (one for one in found if isinstance(one, BrokenItem))
    assert broken.fault.startswith("a.parquet, row 2: at has a value of type ") and said in broken.fault
    assert "damaged" not in broken.fault


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pyarrow.array([b"one", "zwölf".encode(), None]), ["one", "zwölf", None]),
        (pyarrow.array([b"one", b"\xff", b""], pyarrow.large_binary()), ["one", b"\xff", ""]),
        (pyarrow.array([[b"a"], [b"\xff", b"b"], []]), [["a"], [b"\xff", "b"], []]),
        (pyarrow.array([{"b": b"a"}, {"b": b"\xff"}, None]), [{"b": "a"}, {"b": b"\xff"}, None]),
    ],
)
def test_batch_rows_bytes_that_are_utf8_are_texts(column: Any, values: list[Any]) -> None:
    assert [one.values["said"] for one in items(said=column) if isinstance(one, SourceRecord)] == values
