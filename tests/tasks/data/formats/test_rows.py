"""Test the format `rows`."""

from __future__ import annotations

import io
from datetime import datetime

import pyarrow
import pytest
from pyarrow import parquet

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.records import Comparison, Pair, Rating, Text, text_digest
from tests.tasks.data.formats.export_reader import parse_by_kind, read, sample
from tests.tasks.data.parsing.row_reader import read as read_tallied


def test_rows_keys_decide_record_kind() -> None:
    found = parse_by_kind("rows", "rows.jsonl")
    assert [len(rows) for rows in (found.text, found.pairs, found.comparisons, found.ratings)] == [1, 1, 1, 2]
    assert found.places == [f"rows.jsonl, line {line}" for line in (1, 2, 4, 5, 6)]
    assert found.text[0].group == "mill"
    assert found.pairs[0].references == [" Grain.", " Corn."]
    choice = found.comparisons[0]
    assert (choice.choice, choice.annotator, choice.aspect) == ("a", "ann", "truthfulness")
    assert found.ratings[0].scores == [3.0, 2.5] and found.ratings[0].score == 2.75
    assert found.ratings[1].scores == [-2.0] and found.ratings[1].annotators == ["ann"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": ', r"given\.jsonl, line 2: broken JSON"),
        (b"[1, 2]", r"line 2: a list, expected an object; if it is a conversation, write"),
        (b'{"txet": "a"}', r"line 2: keys txet do not form a row; expected text"),
        (b'{"text": 3}', r"line 2: text is a number; expected a text"),
        (b'{"prompt": "a", "completion": "b", "scores": "3"}', r"line 2: scores are numbers"),
        (
            b'{"prompt": "a", "completion": "b", "scores": [1, 2], "annotators": ["x"]}',
            r"2 scores by 1 annotators",
        ),
        (b'{"text": "\xe9"}', r"line 2: not UTF-8 at byte"),
        (
            b'{"prompt": "p", "a": "x", "b": "y", "choice": "a", "first_choices": ["a"]}',
            r"line 2: 1 first_choices by 0 people; expected one each",
        ),
        (
            b'{"prompt": "p", "a": "x", "b": "y", "choice": "a", "first_choices": ["x"], "first_annotators": '
            b'["ann"]}',
            r"line 2: first_choices has 'x'; expected a, b or tie",
        ),
    ],
)
def test_rows_invalid_line_is_refused_with_place(line: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_by_kind("rows", b'{"text": "good"}\n' + line)


COLUMNS = {
    "prompt": "question", "completion": "answer", "score": "stars", "annotator": "who", "time": "when",
    "aspect": "says", "id": "item",
}  # fmt: skip


def test_rows_table_with_renamed_columns_gives_ratings() -> None:
    first, second, third = read("rows", sample("rows_ratings.csv"), columns=COLUMNS, aspect="tone")
    assert isinstance(first.row, Rating) and isinstance(second.row, Rating) and isinstance(third.row, Rating)
    assert (first.row.prompt, first.row.completion) == ('Who sold "grain"?', "The miller,\nof course.")
    assert (first.row.scores, first.row.annotators, first.row.times) == (
        [4.5], ["ann"], ["2026-03-01T10:00:00Z"],
    )  # fmt: skip
    assert (second.row.scores, second.row.annotators, second.row.times) == ([2.0], ["bob"], [])
    assert first.row.id != second.row.id and first.row.group == second.row.group
    assert (third.row.aspect, third.row.annotators) == ("tone", ["unknown-0"])
    assert third.where == "rows_ratings.csv, line 7"
    # Labels of two people on one item may share its id.
    assert not first.own and not second.own


def test_rows_lists_and_history_in_cells_are_read() -> None:
    ((row, *_),) = read("rows", sample("rows_lists.tsv"))
    assert isinstance(row, Rating)
    assert (row.scores, row.annotators, row.times) == ([3.0, 4.5], ["ann", "bob"], ["2026-03-01", ""])
    assert row.history == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is ground?"},
        {"role": "assistant", "content": "Grain."},
    ]
    assert row.group == text_digest("What is ground?")


def test_rows_column_named_for_text_is_used() -> None:
    sink = io.BytesIO()
    table = pyarrow.table({"prompt": ["a"], "completion": ["b"], "text": [7], "body": ["Grain."], "id": [3]})
    parquet.write_table(table, sink)
    (found,) = read("rows", SourceFile("a.parquet", sink.getvalue()), columns={"text": "body"})
    assert isinstance(found.row, Text) and found.row.text == "Grain." and found.own == "3"
    with pytest.raises(
        UserError,
        match=r"a\.parquet, row 1: no column words, which columns names for text; there are prompt, "
        "completion, text, body, id",
    ):
        read("rows", SourceFile("a.parquet", sink.getvalue()), columns={"text": "words"})


def test_rows_columns_may_be_swapped() -> None:
    file = SourceFile("a.jsonl", b'{"prompt": "the answer", "completion": "the question"}')
    ((row, *_),) = read("rows", file, columns={"prompt": "completion", "completion": "prompt"})
    assert isinstance(row, Pair) and (row.prompt, row.completion) == ("the question", "the answer")


def test_rows_parquet_time_becomes_iso_text() -> None:
    sink = io.BytesIO()
    row = {"prompt": "p", "a": "x", "b": "y", "choice": "b", "time": datetime(2026, 3, 1, 10)}
    parquet.write_table(pyarrow.Table.from_pylist([row]), sink)
    ((found, *_),) = read("rows", SourceFile("a.parquet", sink.getvalue()))
    assert isinstance(found, Comparison)
    assert (found.time, found.annotator, found.choice) == ("2026-03-01T10:00:00", "unknown", "b")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('"score": "so so"', "scores are numbers, and this is 'so so'"),
        ('"score": true', "scores are numbers, and this is True"),
        ('"score": 1e999', "broken JSON .1e999 is too large for a number"),
        ('"scores": "[1, "', "scores: broken JSON"),
        ('"scores": [1, 2], "times": ["2026-03-01"]', "2 scores at 1 times; expected one each"),
        ('"references": "Grain."', "references are texts in a list, and this is 'Grain.'"),
        ('"history": "before"', "history is 'before'; expected a list of turns, or of"),
        ('"group": ["a"]', "group is a list; expected a name"),
    ],
)
def test_rows_invalid_value_is_refused_with_line(more: str, said: str) -> None:
    file = SourceFile("a.jsonl", f'{{"prompt": "p", "completion": "c", {more}}}'.encode())
    with pytest.raises(UserError, match=rf"^a\.jsonl, line 1(, \w+)?: {said}|^a\.jsonl, line 1, {said}"):
        read("rows", file)


@pytest.mark.parametrize("key", ["prompt", "completion"])
def test_text_that_is_an_object_is_named_with_its_keys(key: str) -> None:
    row = {"prompt": "Q", "completion": "A", key: {"full_text": "What is rust?", "id": 3}}
    found, tally = read_tallied(row, {"prompt": "Q", "completion": "A"}, format="rows")
    assert tally.faults == 1
    assert f"{key}: an object with the keys full_text, id; expected a text" in found[0].row.fault
