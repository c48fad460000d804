"""Rows of Parquet files, in batches and within bounds of memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NoReturn

from model.errors import UserError, file_error
from model.events import FULL
from tasks.data.file_io.class_labels import class_features, name_classes
from tasks.data.file_io.decoding import BLOCK, RATIO, UNSUSPECTED
from tasks.data.file_io.parquet_values import batch_rows
from tasks.data.file_io.tables import MOST_COLUMNS, check_columns

TABLE_BATCH = 128  # rows of a Parquet file in memory at once
MOST_DICTIONARY = 4 << 20  # bytes of a compressed dictionary; writers end a page at 1 MB


def read_parquet(file: BinaryIO, origin: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield the rows of a Parquet file, each with its place, in batches.

    The third part says which value of a row Python cannot hold; else it is empty. Raises UserError for a file
    that is damaged or not Parquet.
    """
    import pyarrow
    from pyarrow import parquet

    faults = (
        pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError, EOFError, RecursionError,
        KeyError,
    )  # fmt: skip
    size = file.seek(0, 2)
    file.seek(0)
    try:
        # pre_buffer would read whole column chunks ahead, beyond the bounds of memory.
        table = parquet.ParquetFile(file, buffer_size=BLOCK, pre_buffer=False)
        check_columns(table.schema.names if table.metadata.num_columns > MOST_COLUMNS else [], origin)
        check_columns(table.schema_arrow.names, origin)
        classes = class_features(table.schema_arrow.metadata)
        batches = table.iter_batches(batch_size=_rows_at_once(table.metadata), use_threads=False)
    except faults as error:
        _refuse(error, origin)
    number = unpacked = 0
    while True:
        try:
            batch = next(batches, None)
            # A dictionary can expand to thousands of times its size, which the file's metadata does not show.
            unpacked += 0 if batch is None else batch.nbytes
            if unpacked > max(UNSUSPECTED, RATIO * size):
                raise UserError(
                    f"{origin}: unpacks to more than {unpacked} bytes, over {RATIO} times its size; "
                    "if it is valid, write it without dictionaries, or as JSON Lines"
                )
            rows = [] if batch is None else list(batch_rows(batch))
        except faults as error:
            _refuse(error, f"{origin}, row {number + 1} or one after it")
        if batch is None:
            return
        for row, fault in rows:
            number += 1
            for name, feature in classes.items():
                row[name] = name_classes(row.get(name), feature)
            where = f"{origin}, row {number}"
            yield row, where, f"{where}: {fault}" if fault else ""


def _rows_at_once(metadata: Any) -> int:
    """Return the rows to decode at once: one if a value may be very much larger than the file."""
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            # The sizes come from the file itself and may be wrong. The check of unpacked bytes is the one
            # that holds.
            if column.total_uncompressed_size > max(BLOCK, RATIO * column.total_compressed_size):
                return 1
            start, data = column.dictionary_page_offset, column.data_page_offset
            if start and data - start > MOST_DICTIONARY:
                return 1
    return TABLE_BATCH


def _refuse(error: BaseException, where: str) -> NoReturn:
    said = " ".join(str(error).split())[:120] or type(error).__name__
    raise UserError(f"{where}: not a Parquet file, or damaged ({said})") from error


@contextmanager
def on_disk(file: BinaryIO) -> Iterator[BinaryIO]:
    """Copy a stream to a temporary file without a name, for readers that need to seek."""
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(file, copy, BLOCK)
            copy.flush()
        except OSError as error:
            if error.errno not in FULL:
                raise
            advice = "free space there, or set TMPDIR to a folder on another disk"
            place = tempfile.gettempdir()
            raise file_error(place, "cannot hold an unpacked copy of the file", error, advice) from error
        copy.seek(0)
        yield copy
