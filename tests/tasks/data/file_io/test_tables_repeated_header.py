"""Test tables that were joined from several files, so that a row repeats the header."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from model.errors import UserError
from tasks.data.file_io.files import BrokenItem, SourceFile
from tasks.data.sources.source_types import DataParameters, Source
from tests.tasks.data.parsing.row_reader import read_file
from tests.tasks.ingest_project import run

PAIRS = "prompt,completion\nWho?,Me.\n"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.csv", PAIRS + PAIRS, 3),
        ("a.csv", PAIRS + "\ufeff" + PAIRS, 3),
        ("a.csv", PAIRS + '\ufeff"prompt","completion"\nWho?,Me.\n', 3),
        ("a.csv", "prompt,completion\n" + PAIRS, 2),
        ("a.csv", PAIRS + PAIRS.replace("\n", "\r\n"), 3),
        ("a.tsv", (PAIRS + "Why?,So.\n" + PAIRS).replace(",", "\t"), 4),
        ("a.csv", (PAIRS + PAIRS).replace(",", ";"), 3),
        ("a.csv", "sep=;\n" + (PAIRS + PAIRS).replace(",", ";"), 4),
        ("a.csv", "text\none\ntext\ntwo\n", 3),
        ("a.csv", ",text\n0,one\n,text\n0,two\n", 3),
    ],
)
def test_all_items_repeated_header_is_named_with_its_line(name: str, content: str, line: int) -> None:
    items = list(SourceFile(name, content.encode()).all_items())
    broken = [item for item in items if isinstance(item, BrokenItem)]
    assert [item.where for item in broken] == [f"{name}, line {line}"]
    assert broken[0].fault.startswith(f"{name}, line {line}: each cell is the name of its column")
    values = [json.dumps(item.values) for item in items if not isinstance(item, BrokenItem)]
    assert len(values) >= 1 and all(
        "Who?" in one or "Why?" in one or "one" in one or "two" in one for one in values
    )


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


def as_lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_array(rows: list[dict[str, str]]) -> bytes:
    return json.dumps(rows).encode()


@pytest.mark.parametrize(
    ("name", "write", "where"),
    [
        ("a.parquet", as_parquet, "row 2"),
        ("a.jsonl", as_lines, "line 2"),
        ("a.json", as_array, "line 1, item 2"),
    ],
)
def test_read_rows_header_in_converted_table_is_counted(
    name: str, write: Callable[[list[dict[str, str]]], bytes], where: str
) -> None:
    rows = [
        {"prompt": p, "completion": c}
        for p, c in (("Who?", "Me."), ("prompt", "completion"), ("Why?", "So."))
    ]
    found, tally = read_file(SourceFile(name, write(rows)))
    assert [row.row.fault == "" for row in found] == [True, False, True] and tally.faults == 1
    assert tally.first_fault.startswith(f"{name}, {where}: each cell is the name of its column")


@pytest.mark.parametrize(
    "content",
    [
        'prompt,completion\n"What is a prompt?",completion\n',
        "prompt,completion\nprompt,a question\n",
        "word,meaning\nmeaning,what is meant\n",
    ],
)
def test_all_items_cell_that_is_a_column_name_is_read(content: str) -> None:
    assert len(list(SourceFile("a.csv", content.encode()).items())) == 1


def test_all_items_one_key_of_a_json_object_is_read() -> None:
    assert [item.values for item in SourceFile("a.jsonl", b'{"word": "word"}\n').items()] == [
        {"word": "word"}
    ]


@pytest.mark.parametrize(
    "second",
    [
        "completion,prompt\nMe.,Who?\n",
        "completion , prompt\nMe.,Who?\n",
        "\ufeffcompletion,prompt\nMe.,Who?\n",
    ],
)
def test_all_items_joined_columns_in_another_order_are_refused(second: str) -> None:
    with pytest.raises(UserError, match=r"a\.csv, line 3: .*another order .*split the file before this line"):
        list(SourceFile("a.csv", (PAIRS + second).encode()).all_items())


def test_ingest_repeated_header_is_named_and_kept_out(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    content = "prompt,completion\n" + "".join(f"Who {n}?,Me {n}.\n" for n in range(30))
    (tmp_path / "texts" / "a.csv").write_text(content + content.replace("Who", "Why"))
    said: list[str] = []
    metrics = run(tmp_path, DataParameters((Source("mine", files="texts/*.csv"),)), said)
    assert metrics["pairs"] == 61  # 60 pairs, and the row for the quarantine
    assert any(
        "1 row, quarantined by validation; the first: texts/a.csv, line 32: each cell is" in text
        for text in said
    )


@pytest.mark.parametrize(
    ("content", "change"),
    [
        (
            "prompt,completion,score\nWho?,Me.,3\nprompt,completion,Note\nWhy?,So.,2\n",
            "Note in place of score",
        ),
        (
            "Nr;Frage;Antwort;Urteil\n1;Wer?;Ich.;gut\nNr;Frage;Antwort;Status\n2;Wie?;So.;neu\n",
            "Status in place of",
        ),
        ("id,prompt,completion\n1,Who?,Me.\nid,prompt,answer\n2,Why?,So.\n", "answer in place of completion"),
        ("q,prompt,completion\n1,Who?,Me.\nnumber,prompt,completion\n2,Why?,So.\n", "number in place of q"),
    ],
)
def test_all_items_second_header_with_other_names_stops_with_its_line(content: str, change: str) -> None:
    with pytest.raises(UserError, match=rf"a.csv, line 3: a second header with other names.*{change}"):
        list(SourceFile("a.csv", content.encode()).all_items())


@pytest.mark.parametrize("again", ["Prompt,Completion", "PROMPT,COMPLETION", '"Prompt","completion"'])
def test_all_items_header_in_other_capitals_is_no_row(again: str) -> None:
    items = list(SourceFile("a.csv", f"{PAIRS}{again}\nWhy?,So.\n".encode()).all_items())
    assert [isinstance(item, BrokenItem) for item in items] == [False, True, False]


@pytest.mark.parametrize(
    "row",
    [
        "prompt,completion,3",
        "prompt,completion,",
        "prompt,completion,?",
        "prompt,What is it?,good",
        "prompt,b,c",
    ],
)
def test_all_items_row_that_names_columns_stays(row: str) -> None:
    content = f"prompt,completion,score\nWho?,Me.,3\n{row}\n"
    items = list(SourceFile("a.csv", content.encode()).all_items())
    assert [isinstance(item, BrokenItem) for item in items] == [False, False]
