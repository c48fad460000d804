"""Test the limit of keys of an object inside a cell of a table."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.file_io.tables import MOST_COLUMNS
from tests.tasks.data.parsing.row_reader import read, read_file

FLAT = {f"k{n}": n for n in range(MOST_COLUMNS + 1)}
NESTED = {f"a{n}": {f"b{k}": k for k in range(99)} for n in range(60)}
LISTED = [{f"c{n}_{k}": k for k in range(2100)} for n in range(2)]


def _table(*rows: dict[str, Any]) -> SourceFile:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return SourceFile("a.csv", text.getvalue().encode())


@pytest.mark.parametrize("wide", [FLAT, NESTED, LISTED])
@pytest.mark.parametrize(
    "row", [{"text": "Some words."}, {"prompt": "Name a bird.", "completion": "A robin."}]
)
def test_row_stream_cell_with_too_many_keys_is_a_fault(row: dict[str, Any], wide: Any) -> None:
    file = _table({**row, "meta": json.dumps({"a": 1})}, {**row, "meta": json.dumps(wide)})
    found, tally = read_file(file)
    faults = [one.row.fault for one in found if one.row.fault]
    assert len(found) == 2 and len(faults) == 1
    assert "a.csv, line 3: more than 4,096 keys, but at most 4,096 are read in an object" in faults[0]
    assert tally.faults == 1
    found, tally = read_file(file, fields={"meta": "ignore"})
    assert not tally.faults


@pytest.mark.parametrize("wide", [FLAT, NESTED])
def test_row_stream_json_text_in_json_lines_counts_its_keys(wide: Any) -> None:
    found, tally = read({"text": "Some words.", "meta": json.dumps(wide)}, {"text": "Other words."})
    assert tally.faults == 1 and len(found) == 2


@pytest.mark.parametrize(
    "cell", [{f"k{n}": n for n in range(MOST_COLUMNS - 10)}, [{"name": "x", "n": n} for n in range(6000)]]
)
def test_row_stream_cell_below_the_limit_is_read(cell: Any) -> None:
    found, tally = read_file(_table({"text": "Some words.", "meta": json.dumps(cell)}))
    assert len(found) == 1 and not tally.faults


@pytest.mark.parametrize(
    ("key", "value"), [("status", "rejected"), ("review", "do not use"), ("kto_label", "bad")]
)
def test_row_stream_verdict_in_a_parquet_map_is_asked(key: str, value: str) -> None:
    kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
    maps = pyarrow.array([[(key, "fine")], [(key, value)]], kind)
    held = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["Some words.", "Other words."], "meta": maps}), held)
    _, tally = read_file(SourceFile("a.parquet", held.getvalue()))
    assert f"meta.{key}" in tally.asks()


@pytest.mark.parametrize(
    "scores", [[{"name": "thumb", "value": 0}], {"name": "thumb", "value": 0}, [{"name": "a", "value": 1}, 4]]
)
def test_read_rows_objects_under_scores_are_named_by_their_own_keys(scores: Any) -> None:
    row = {"prompt": "Name a bird.", "completion": "A robin.", "scores": scores}
    fault = read(row)[0][0].row.fault  # type: ignore[union-attr]
    assert "object" in fault and "annotators" in fault and "role key" not in fault


def test_read_rows_deleted_conversation_rejects_its_last_answer_only() -> None:
    turns = [
        {"role": role, "content": f"Text {n}."}
        for n, role in enumerate(["user", "assistant", "user", "assistant"])
    ]
    whole, _ = read({"messages": turns})
    found, tally = read({"messages": turns, "deleted": True})
    assert not found and tally.rejected == {whole[-1].row.id}


@pytest.mark.parametrize("row", [{"completion": "A."}, {"prompt": 4, "completion": "A."}, {"prompt": "Q?"}])
def test_read_rows_deleted_row_need_not_be_readable(row: dict[str, Any]) -> None:
    pair = {"prompt": "Name a bird.", "completion": "A robin."}
    found, tally = read({**row, "deleted": True}, pair, format="rows")
    assert len(found) == 1 and not tally.rejected and not tally.faults


@pytest.mark.parametrize(
    ("said", "text"),
    [("One._x000D_\nTwo.", "One.\nTwo."), ("One._x000D_", "One."), ("A._x000D_\nB._x000D_\n", "A.\nB.\n")],
)
def test_read_rows_line_end_of_excel_is_removed_and_counted(said: str, text: str) -> None:
    (pair, other), tally = read({"prompt": "Why?_x000D_\nSay.", "completion": said}, {"text": said})
    assert (pair.row.prompt, pair.row.completion, other.row.text) == ("Why?\nSay.", text, text)  # type: ignore[union-attr]
    assert any(
        line.endswith("breaks that Excel wrote as _x000D_ at the end of a line") for line in tally.lines()
    )
    tally.check("mine", {})


def test_read_rows_escape_of_excel_inside_a_line_is_asked_about() -> None:
    rows = [{"prompt": "Why?", "completion": "One_x000D_two"}]
    with pytest.raises(UserError, match=r"completion.*_x000D_.*fields: \{completion: text\}"):
        read(*rows)[1].check("mine", {})
    (found,), tally = read(*rows, fields={"completion": "text"})
    tally.check("mine", {"completion": "text"})
    assert found.row.completion == "One_x000D_two"  # type: ignore[union-attr]
