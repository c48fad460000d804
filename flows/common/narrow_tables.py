"""Print a table as lines of name and value where the terminal is too narrow for its columns."""

from __future__ import annotations

from rich.console import RenderableType
from rich.measure import Measurement
from rich.table import Table

from flows.common.terminal import Console

_LEAST = 12  # characters that a column of prose needs
_GAP = 2  # characters between two columns


def print_table(console: Console, table: Table, prose: str = "") -> None:
    """Print a table, or its rows one below the other if a number or a name would be cut or wrapped.

    Args:
        console: The console.
        table: The table. Empty cells are left out of the rows.
        prose: The header of the column whose text may wrap; empty for none.
    """

    def width(cell: RenderableType) -> int:
        return Measurement.get(console, console.options.update(width=10_000), cell).maximum

    needed = 0
    for column in table.columns:
        most = max(map(width, (column.header, *column.cells)), default=0)
        needed += (min(most, _LEAST) if column.header == prose else most) + _GAP
    if needed - _GAP <= console.width or not table.columns:
        console.print(table)
        return
    for row in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = zip(table.columns, row, strict=True)
        console.print(first[1], style="bold", soft_wrap=True)
        for column, cell in others:
            if cell != "":
                console.print(f"  {' '.join(str(column.header).split())}: {cell}", soft_wrap=True)
