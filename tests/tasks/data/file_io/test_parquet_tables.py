"""Tests of Parquet files as tables: row groups, class labels, damage, and bounds of memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.file_io.parquet_tables import TABLE_BATCH, on_disk
from tests.tasks.data.file_io.test_files import CONTAINERS, parquet_of, values


def test_source_file_items_parquet_with_many_row_groups_is_read() -> None:
    rows = [{"text": f"row {n}", "turns": [{"role": "user", "n": n}]} for n in range(TABLE_BATCH * 3 + 5)]
    found = list(SourceFile("a.parquet", parquet_of(rows, row_group_size=200)).items())
    assert [item.values for item in found] == rows
    assert found[-1].where == f"a.parquet, row {len(rows)}"


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"text\nno parquet\n", CONTAINERS["table.parquet"][:-30], b"PAR1" * 20]
)
def test_source_file_items_invalid_parquet_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"^a\.parquet.*: not a Parquet file, or damaged \("):
        values(SourceFile("a.parquet", content))


def table_file(columns: dict[str, Any], features: dict[str, Any] | None = None) -> SourceFile:
    table = pyarrow.table(columns)
    if features:
        told = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": told})
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return SourceFile("a.parquet", sink.getvalue())


def test_source_file_items_class_labels_become_names() -> None:
    def feature(*names: str) -> dict[str, Any]:
        return {"_type": "ClassLabel", "names": list(names)}

    columns = {"label": [0, 1, -1, None], "all": [[1, 0], [], [0], [1]], "n": [0, 1, 2, 3]}
    features = {
        "label": feature("good", "bad"), "all": {"_type": "List", "feature": feature("x", "y")},
        "n": {"_type": "Value", "dtype": "int64"},
    }  # fmt: skip
    found = [item.values for item in table_file(columns, features).items()]
    assert [row["label"] for row in found] == ["good", "bad", None, None]
    assert [row["all"] for row in found] == [["y", "x"], [], ["x"], ["y"]]
    assert [row["n"] for row in found] == [0, 1, 2, 3]


def test_source_file_items_parquet_bomb_is_refused() -> None:
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 2000, pyarrow.int32()), ["a" * (1 << 20)])
    bomb = table_file({"text": text})
    assert len(bomb.content) < 10_000
    with pytest.raises(
        UserError, match=r"a\.parquet: unpacks to more than \d+ bytes, over 200 times its size"
    ):
        sum(1 for _ in bomb.items())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("size", [5_000, 100_000, 3_000_000])
def test_on_disk_full_temporary_folder_is_named(tmp_path, monkeypatch, size):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        content = os.urandom(size)
        if size < 65536:
            with on_disk(io.BytesIO(content)) as file:
                assert file.read() == content
            return
        with pytest.raises(UserError, match=rf"{tmp_path} cannot hold an unpacked copy .*set TMPDIR"):
            on_disk(io.BytesIO(content)).__enter__()
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)
