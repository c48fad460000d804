"""Test Parquet values that Python cannot hold, and bytes that are texts."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord
from tasks.data.records import Pair
from tests.tasks.data.parsing.row_reader import read_file


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


STAMP = pyarrow.timestamp("us")
HUGE = 2**61


@pytest.mark.parametrize(
    ("column", "second"),
    [
        (pyarrow.array([[1], [HUGE, None], None], pyarrow.list_(STAMP)), [HUGE, None]),
        (pyarrow.array([[1], [HUGE], None], pyarrow.large_list(STAMP)), [HUGE]),
        (pyarrow.array([[1, 1], [HUGE, HUGE], [1, 1]], pyarrow.list_(STAMP, 2)), [HUGE, HUGE]),
        (
            pyarrow.array(
                [{"t": 1, "s": "x"}, {"t": HUGE, "s": "y"}, None], pyarrow.struct({"t": STAMP, "s": "str"})
            ),
            {"t": HUGE, "s": "y"},
        ),
        (
            pyarrow.array([[("a", 1)], [("a", HUGE), ("b", None)], []], pyarrow.map_("str", STAMP)),
            {"a": HUGE, "b": None},
        ),
        (
            pyarrow.array(
                [[("a", 1)], [("a", 1), ("a", 2), ("b", 3)], []], pyarrow.map_("str", pyarrow.int64())
            ),
            {"a": [1, 2], "b": 3},
        ),
        (
            pyarrow.array(
                [[{"m": []}], [{"m": [("k", HUGE)]}], []],
                pyarrow.list_(pyarrow.struct({"m": pyarrow.map_("str", STAMP)})),
            ),
            [{"m": {"k": HUGE}}],
        ),
        (pyarrow.array([b"a", b"\xff", b"c"]).view(pyarrow.string()), b"\xff"),
    ],
)
def test_batch_rows_inner_value_out_of_range_costs_no_row(column: Any, second: Any) -> None:
    found = items(at=column)
    assert [one.values["n"] for one in found if isinstance(one, SourceRecord)] == [1, 2, 3]
    assert isinstance(found[1], SourceRecord) and found[1].values["at"] == second


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


def test_read_rows_unread_value_out_of_range_is_listed_and_costs_no_row() -> None:
    table = pyarrow.table({
        "prompt": ["Name a bird.", "Name a fish."],
        "completion": ["A robin.", "A trout."],
        "history_of_edits": pyarrow.array([[1], [HUGE]], pyarrow.list_(STAMP)),
        "meta": pyarrow.array([{"t": HUGE}, {"t": 1}], pyarrow.struct({"t": STAMP})),
    })  # fmt: skip
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    found, tally = read_file(SourceFile("a.parquet", sink.getvalue()))
    assert [type(one.row) for one in found] == [Pair, Pair] and not tally.faults
    tally.check("mine")
    (line,) = tally.lines()
    assert "history_of_edits (2, as " in line and f"meta.t (2, as {HUGE})" in line


@pytest.mark.parametrize(
    ("column", "second"),
    [
        (pyarrow.array([None, Decimal("4.50"), None], pyarrow.decimal128(5, 2)), 4.5),
        (
            pyarrow.array([None, Decimal(10**20 + 1), None], pyarrow.decimal256(40, 0)),
            10**20 + 1,
        ),
        (
            pyarrow.array(
                [[], [{"by": "anna", "rating": Decimal("4.5")}], None],
                pyarrow.list_(pyarrow.struct({"by": "str", "rating": pyarrow.decimal128(4, 1)})),
            ),
            [{"by": "anna", "rating": 4.5}],
        ),
        (
            pyarrow.array(
                [[], [("tone", Decimal("3.0"))], None], pyarrow.map_("str", pyarrow.decimal128(4, 1))
            ),
            {"tone": 3},
        ),
    ],
)
def test_batch_rows_decimal_is_a_number(column: Any, second: Any) -> None:
    row = items(held=column)[1]
    assert isinstance(row, SourceRecord) and row.values["held"] == second
    assert "Decimal" not in repr(row.values)
