"""Test the formats `plain`, `markdown` and `rows` on samples and on broken files."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats import plain
from tasks.data.formats.markdown import without_front_matter
from tasks.data.formats.registry import find_format, formats
from tasks.data.parsing.base import FileSample, ParseOptions
from tasks.data.records import Comparison, Pair, ParsedRow, Rating, Text, text_digest

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"


def parse(name: str, file: SourceFile | str, **reading: Any) -> list[ParsedRow]:
    given = SourceFile(file, path=EXPORTS / file) if isinstance(file, str) else file
    return list(find_format(name).parse([given], ParseOptions("mine", **reading)))


def test_plain_paragraphs_are_documents_with_lines() -> None:
    found = parse("plain", "plain_paragraphs.txt", documents="paragraph")
    assert [(one.row.text, one.where) for one in found if isinstance(one.row, Text)] == [
        ("The harbour was quiet.\nOnly two boats lay there.", "plain_paragraphs.txt, line 1"),
        ("The old mill\n    stood still.", "plain_paragraphs.txt, line 6"),
        ("A teacher sold letters.", "plain_paragraphs.txt, line 10"),
    ]
    (whole,) = parse("plain", "plain_paragraphs.txt")
    assert isinstance(whole.row, Text) and whole.row.text.count("\n") == 9 and "\r" not in whole.row.text


def test_plain_oversized_document_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "LONGEST", 20)
    file = SourceFile("a.txt", b"short.\n\nthis line\nand this line\n")
    with pytest.raises(UserError, match=r"a\.txt, line 3: a paragraph of more than"):
        parse("plain", file, documents="paragraph")
    with pytest.raises(UserError, match=r"a\.txt: above .* too large .*; documents: paragraph makes"):
        parse("plain", file)


def test_plain_invalid_utf8_in_paragraph_is_refused_with_line() -> None:
    with pytest.raises(UserError, match=r"a\.txt, line 3: not UTF-8 at byte 7"):
        parse("plain", SourceFile("a.txt", b"one\n\ntw\xe9"), documents="paragraph")


def test_markdown_keeps_text_without_front_matter() -> None:
    ((row, where, *_),) = parse("markdown", "markdown.md")
    assert isinstance(row, Text) and where == "markdown.md"
    assert row.text.startswith("# The mill\n\nThe mill stands *near* the river.\n\n---\n\n| year")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('---\n"title": a\n...\nText', "Text"),
        ("---\n# only a comment\n---\n", ""),
        ("---\n---\nText", "Text"),
        ('+++\ntitle = "a"\n+++\nText', "Text"),
        ("---\n\nA rule above.\n\n---\n\nMore.", "---\n\nA rule above.\n\n---\n\nMore."),
        ("---\ntitle: it never ends\n\nText", "---\ntitle: it never ends\n\nText"),
        ("Text\n---\na: b\n---\n", "Text\n---\na: b\n---\n"),
    ],
)
def test_without_front_matter_only_marked_block_is_removed(text: str, left: str) -> None:
    assert without_front_matter(text) == left


COLUMNS = {
    "prompt": "question", "completion": "answer", "score": "stars", "annotator": "who", "time": "when",
    "aspect": "says", "id": "item",
}  # fmt: skip


def test_rows_table_with_renamed_columns_gives_ratings() -> None:
    first, second, third = parse("rows", "rows_ratings.csv", columns=COLUMNS, aspect="tone")
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
    ((row, *_),) = parse("rows", "rows_lists.tsv")
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
    (found,) = parse("rows", SourceFile("a.parquet", sink.getvalue()), columns={"text": "body"})
    assert isinstance(found.row, Text) and found.row.text == "Grain." and found.own == "3"
    with pytest.raises(
        UserError,
        match=r"a\.parquet, row 1: no column words, which columns names for text; there are prompt, "
        "completion, text, body, id",
    ):
        parse("rows", SourceFile("a.parquet", sink.getvalue()), columns={"text": "words"})


def test_rows_columns_may_be_swapped() -> None:
    file = SourceFile("a.jsonl", b'{"prompt": "the answer", "completion": "the question"}')
    ((row, *_),) = parse("rows", file, columns={"prompt": "completion", "completion": "prompt"})
    assert isinstance(row, Pair) and (row.prompt, row.completion) == ("the question", "the answer")


def test_rows_parquet_time_becomes_iso_text() -> None:
    sink = io.BytesIO()
    row = {"prompt": "p", "a": "x", "b": "y", "choice": "b", "time": datetime(2026, 3, 1, 10)}
    parquet.write_table(pyarrow.Table.from_pylist([row]), sink)
    ((found, *_),) = parse("rows", SourceFile("a.parquet", sink.getvalue()))
    assert isinstance(found, Comparison)
    assert (found.time, found.annotator, found.choice) == ("2026-03-01T10:00:00", "unknown", "b")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('"score": "so so"', "scores are numbers, and this is 'so so'"),
        ('"score": true', "scores are numbers, and this is True"),
        ('"score": "nan"', "scores are numbers, and this is 'nan'"),
        ('"score": 1e999', "scores are numbers, and this is inf"),
        ('"score": null', "scores are numbers, and this is None"),
        ('"scores": []', "scores is empty; a rating has one at least"),
        ('"scores": "[1, "', "scores: broken JSON"),
        ('"scores": [1, 2], "times": ["2026-03-01"]', "2 scores at 1 times; one each is right"),
        ('"score": 1, "time": "yesterday"', "'yesterday' is no time; ISO 8601 is right"),
        ('"references": "Grain."', "references are texts in a list, and this is 'Grain.'"),
        ('"history": "before"', "history is 'before'; a list of turns, or of"),
        ('"group": ["a"]', "group is list; a name is right"),
    ],
)
def test_rows_invalid_value_is_refused_with_line(more: str, said: str) -> None:
    file = SourceFile("a.jsonl", f'{{"prompt": "p", "completion": "c", {more}}}'.encode())
    with pytest.raises(UserError, match=rf"^a\.jsonl, line 1(, \w+)?: {said}|^a\.jsonl, line 1, {said}"):
        parse("rows", file)


@pytest.mark.parametrize(
    ("name", "format_"),
    [("a.txt", "plain"), ("a.TXT.gz", "plain"), ("a.md", "markdown"), ("b/a.markdown.zst", "markdown")],
)
def test_fits_file_suffix_selects_plain_or_markdown(name: str, format_: str) -> None:
    fitting = [found.name for found in formats().values() if not found.fits(FileSample(name, "A text."))]
    assert fitting == [format_]
