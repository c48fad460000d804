"""The two rows that a Qualtrics export has below its names."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter

import pytest

from tasks.data.file_io.files import BrokenItem, SourceFile, SourceRecord
from tasks.data.file_io.survey_header import SURVEY_HEADER, holds_import_ids
from tests.tasks.data.parsing.row_reader import read_file

NAMES = ["StartDate", "Finished", "prompt", "completion"]
TEXTS = ["Start Date", "Finished", "What would you ask?\nOne sentence.", 'Write the "best" answer']
IDS = ["startDate", "finished", "QID1_TEXT", "QID2_TEXT"]
ROW = ["2024-05-01 10:00:00", "True", "How tall is it?", "Nine metres."]
OTHER = ["2024-05-01 10:03:00", "True", "How old is it?", "Ninety years."]


def import_ids(more: dict[str, str] | None = None) -> list[str]:
    return [json.dumps({"ImportId": one, **(more or {})}) for one in IDS]


def table(*rows: list[str], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()


def prompts(file: SourceFile) -> tuple[list[str], int, int]:
    """Return the prompts of a file, its broken rows, and the rows of its header that are left out."""
    left_out = Counter[str]()
    found = list(file.all_items(left_out))
    assert set(left_out) <= {SURVEY_HEADER}
    broken = sum(isinstance(one, BrokenItem) for one in found)
    return [one.values["prompt"] for one in found if isinstance(one, SourceRecord)], broken, left_out.total()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", table(NAMES, TEXTS, import_ids(), ROW, OTHER)),
        (
            "a.csv",
            b"\xef\xbb\xbf" + table(NAMES, TEXTS, import_ids({"timeZone": "Z"}), ROW, OTHER),
        ),
        ("a.tsv", table(NAMES, TEXTS, import_ids(), ROW, OTHER, delimiter="\t")),
        ("a.csv", table(NAMES, TEXTS, [*import_ids()[:3], ""], [], ROW, OTHER)),
        (
            "a.jsonl",
            "".join(
                json.dumps(dict(zip(NAMES, row, strict=True))) + "\n"
                for row in (TEXTS, import_ids(), ROW, OTHER)
            ).encode(),
        ),
    ],
)
def test_source_file_items_qualtrics_header_is_left_out_and_counted(name: str, content: bytes) -> None:
    assert prompts(SourceFile(name, content)) == (["How tall is it?", "How old is it?"], 0, 2)


def test_source_file_items_qualtrics_header_without_texts_keeps_the_first_row() -> None:
    # Somebody removed the texts by hand, or both.
    assert prompts(SourceFile("a.csv", table(NAMES, import_ids(), ROW)))[::2] == (["How tall is it?"], 1)
    assert prompts(SourceFile("a.csv", table(NAMES, ROW, OTHER)))[2] == 0
    assert prompts(SourceFile("a.csv", table(NAMES, TEXTS, import_ids()))) == ([], 0, 2)


def test_source_file_items_joined_qualtrics_exports_lose_both_headers() -> None:
    content = table(NAMES, TEXTS, import_ids(), ROW, NAMES, TEXTS, import_ids(), OTHER)
    assert prompts(SourceFile("a.csv", content)) == (["How tall is it?", "How old is it?"], 1, 4)


def test_source_file_items_damaged_second_row_keeps_the_first() -> None:
    found = SourceFile("a.csv", table(NAMES, ROW) + b'"open,1\n').all_items()
    first = next(found)
    assert isinstance(first, SourceRecord) and first.values["prompt"] == "How tall is it?"


def test_read_file_qualtrics_export_names_the_rows_it_leaves_out() -> None:
    rows, tally = read_file(SourceFile("a.csv", table(NAMES, TEXTS, import_ids(), ROW, OTHER)))
    assert [one.where for one in rows] == ["a.csv, line 5", "a.csv, line 6"]
    assert f"left out: 2 {SURVEY_HEADER}" in list(tally.lines())
    tally.check("mine")


@pytest.mark.parametrize(
    ("values", "is_header"),
    [
        ({"a": '{"ImportId": "QID1"}', "b": ""}, True),
        ({"a": {"ImportId": "QID1", "choiceId": "2"}, "b": None}, True),
        ({"a": '{"ImportId": "QID1"}', "b": "An answer"}, False),
        ({"a": '{"importId": "QID1"}'}, False),
        ({"a": "ImportId"}, False),
        ({"a": '{"ImportId": '}, False),
        ({"a": "", "b": None}, False),
        ({}, False),
    ],
)
def test_holds_import_ids_needs_an_id_in_each_cell(values: dict[str, object], is_header: bool) -> None:
    assert holds_import_ids(values) is is_header
