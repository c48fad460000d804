"""Turn the batches of a Parquet file into rows of plain values, cell by cell where a value is unusual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow


def batch_rows(batch: pyarrow.RecordBatch) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a batch, each with the first value that Python cannot hold; empty if there is none.

    A time outside the years 1 to 9999, or in an unknown zone, becomes the number that the file has. Bytes
    that are UTF-8 become a text, as some writers do not mark texts as such.
    """
    import pyarrow

    binary = [field.name for field in batch.schema if "binary" in str(field.type)]
    try:
        # As pairs of key and value, the keys of a map would be read by nobody.
        rows = ((row, "") for row in batch.to_pylist(maps_as_pydicts="strict"))
    except (ValueError, OverflowError, KeyError, pyarrow.ArrowException):
        rows = (_row_by_cell(batch, number) for number in range(batch.num_rows))
    for row, fault in rows:
        for name in binary:
            row[name] = _decoded(row[name])
        yield row, fault


def _row_by_cell(batch: pyarrow.RecordBatch, number: int) -> tuple[dict[str, Any], str]:
    """Return a row in which some value may be none that Python can hold, and what is wrong with it."""
    import pyarrow

    row: dict[str, Any] = {}
    fault = ""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cell = column[number]
        try:
            row[name] = cell.as_py(maps_as_pydicts="strict")
        except (ValueError, OverflowError, KeyError, pyarrow.ArrowException) as error:
            plain = getattr(cell, "value", None)
            row[name] = plain if isinstance(plain, int) else None
            if row[name] is None and not fault:
                said = " ".join(str(error).split())[:120]
                fault = f"{name} has a value of type {cell.type} that cannot be read ({said})"
    return row, fault


def _decoded(value: Any) -> Any:
    """Return a value with texts in place of the bytes in it that are UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return {key: _decoded(item) for key, item in value.items()} if isinstance(value, dict) else value
