"""Turn the batches of a Parquet file into rows of plain values, cell by cell where a value is unusual."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

_UNUSUAL = ("binary", "decimal")  # parts of the names of types whose values JSON does not have


def batch_rows(batch: pyarrow.RecordBatch) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a batch, each with the first value that Python cannot hold; empty if there is none.

    A time outside the years 1 to 9999, or in an unknown zone, becomes the number that the file has, also in
    a list or an object. Bytes that are UTF-8 become a text, as some writers do not mark texts as such. A
    decimal becomes a number, as in a file of JSON lines.
    """
    unusual = [field.name for field in batch.schema if any(kind in str(field.type) for kind in _UNUSUAL)]
    try:
        # As pairs of key and value, the keys of a map would be read by nobody.
        rows = ((row, "") for row in batch.to_pylist(maps_as_pydicts="strict"))
    except _faults():
        rows = (_row_by_cell(batch, number) for number in range(batch.num_rows))
    for row, fault in rows:
        for name in unusual:
            row[name] = _decoded(row[name])
        yield row, fault


def _row_by_cell(batch: pyarrow.RecordBatch, number: int) -> tuple[dict[str, Any], str]:
    """Return a row in which some value may be none that Python can hold, and what is wrong with it."""
    row: dict[str, Any] = {}
    fault = ""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = _plain_value(column[number])
        except _faults() as error:
            row[name] = None
            if not fault:
                said = " ".join(str(error).split())[:120]
                fault = f"{name} has a value of type {column.type} that cannot be read ({said})"
    return row, fault


def _faults() -> tuple[type[Exception], ...]:
    import pyarrow

    return ValueError, OverflowError, KeyError, TypeError, pyarrow.ArrowException


def _plain_value(cell: Any) -> Any:
    """Return a cell as Python has it, and the parts that Python cannot hold in another form.

    No column is known to be read here, so a value alone must not cost its row. Times become their numbers,
    texts that are not UTF-8 bytes, and of equal keys in one object each value is in a list.
    """
    try:
        return cell.as_py(maps_as_pydicts="strict")
    except _faults() as error:
        kind = str(cell.type)
        if kind.startswith("map<"):
            values = cell.values
            return _by_key((_plain_value(one["key"]), _plain_value(one["value"])) for one in values)
        if kind.startswith("struct<"):
            fields = (cell.type.field(index).name for index in range(cell.type.num_fields))
            return _by_key((name, _plain_value(cell[index])) for index, name in enumerate(fields))
        if "list" in kind.partition("<")[0]:
            return [_plain_value(one) for one in cell.values]
        if isinstance(error, UnicodeDecodeError):
            return cell.as_buffer().to_pybytes()
        held = getattr(cell, "value", None)
        if held is not None and not isinstance(held, int):
            return _plain_value(held)
        if held is None:
            raise
        return held


def _by_key(parts: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return an object of pairs of key and value. Of a key that occurs again, all values are in a list."""
    found: dict[Any, list[Any]] = {}
    for key, value in parts:
        found.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def _decoded(value: Any) -> Any:
    """Return a value with texts in place of the bytes in it that are UTF-8, and numbers for decimals."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return {key: _decoded(item) for key, item in value.items()} if isinstance(value, dict) else value
