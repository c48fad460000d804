"""Test tables in wide and narrow terminals: no number is broken, and no column is dropped."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.table import Table

from flows.common.narrow_tables import print_table
from flows.common.terminal import Console

REASON = "the reward rose by 0.31 and the loss stayed where it was"


def printed(width: int, rows: list[tuple[str, ...]], *columns: str, prose: str = "") -> str:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column != prose, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out = StringIO()
    print_table(Console(file=out, width=width, highlight=False), table, prose)
    return out.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_print_table_breaks_no_number(width: int) -> None:
    rows = [("pretrain", "1234.56 h", "8,123,456", "12.25 GB"), ("all", "2234.56 h", "", "12.25 GB")]
    text = printed(width, rows, "stage", "process\ntime", "tokens", "memory")
    for value in ("pretrain", "1234.56 h", "8,123,456", "12.25 GB", "2234.56 h", "all"):
        assert value in text
    assert ("process time: 1234.56 h" in text) == (width < 40)


@pytest.mark.parametrize("width", [20, 40])
def test_print_table_narrow_terminal_keeps_reason(width: int) -> None:
    row = ("a-product", "12", "my-preset", "2026-01-02 10:00", "champion", REASON)
    text = printed(width, [row], "product", "version", "preset", "made", "status", "reason", prose="reason")
    assert f"  reason: {REASON}" in text and text.startswith("a-product\n  version: 12\n")


def test_print_table_reason_wraps_where_other_columns_fit() -> None:
    text = printed(40, [("a", "12", REASON)], "product", "version", "reason", prose="reason")
    assert text.startswith("product") and "".join(text.split()).count("reward") == 1 and "reason:" not in text
