"""Test texts that are bytes as Python prints them, the usual accident of an export."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.unsupported_shapes import unreadable_shape
from tasks.data.parsing.base import FileSample
from tasks.data.values.list_literals import holds_bytes
from tests.tasks.data.parsing.row_reader import read, read_file

GERMAN = str("Schöne Grüße".encode())


@pytest.mark.parametrize(
    "text", ["b'Hello'", 'b"It\'s late"', GERMAN, " b'' ", r"b'a\'b\n'", str(b"\x00\xff")]
)
def test_holds_bytes_printed_bytes_are_found(text: str) -> None:
    assert holds_bytes(text)


@pytest.mark.parametrize(
    "text", ["b'Hello' is bytes", "b'a' + b'b'", "'Hello'", "b", "b'", "bye", "rb'x'", "B'x'", "b'it's", ""]
)
def test_holds_bytes_other_text_is_not(text: str) -> None:
    assert not holds_bytes(text)


@pytest.mark.parametrize(
    ("rows", "key", "field"),
    [
        ([{"text": "one"}, {"text": "b'two'"}, {"text": GERMAN}], "text", "text"),
        ([{"prompt": "b'p'", "completion": "c"}, {"prompt": "b'q'", "completion": "d"}], "prompt", "prompt"),
        (
            [
                {"instruction": "i", "input": "b'n'", "output": "o"},
                {"instruction": "j", "input": "b'm'", "output": "p"},
            ],
            "input",
            "input",
        ),
        (
            [
                {"messages": [{"role": "user", "content": "b'q'"}, {"role": "assistant", "content": "b'a'"}]},
                {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            ],
            "messages[].content",
            '"messages[].content"',
        ),
    ],
)
def test_check_printed_bytes_are_asked_about_with_count_and_place(
    rows: list[dict[str, Any]], key: str, field: str
) -> None:
    _, tally = read(*rows)
    with pytest.raises(UserError) as refused:
        tally.check("mine")
    said = str(refused.value)
    assert "2 texts" in said and key in said and "bytes as Python prints them" in said and ".decode()" in said
    assert f"fields: {{{field}: text}}" in said and "a.jsonl, line " in said
    assert any(line.startswith("texts that are bytes") and "2 under" in line for line in tally.lines())
    # The answer to the question is accepted, and the texts stay as they are.
    found, tally = read(*rows, fields={key: "text"})
    tally.check("mine", {key: "text"})
    assert not any(row.row.fault for row in found) and "b'" in str([vars(row.row) for row in found])


def test_check_printed_bytes_in_table_name_first_line() -> None:
    content = "prompt,completion\nWho?,Me.\nWhy?,b'So.'\nHow?,b'So.'\n"
    _, tally = read_file(SourceFile("a.csv", content.encode()))
    with pytest.raises(UserError, match=r"a\.csv, line 3: completion is \"b'So\.'\", .* \(2 texts\)"):
        tally.check("mine")


def test_check_bytes_within_a_text_are_not_asked_about() -> None:
    _, tally = read({"prompt": "Encode it", "completion": "It is b'x', as in b'x'.decode()"})
    tally.check("mine")


@pytest.mark.parametrize("text", ["b'one\\ntwo'", GERMAN, 'b"x"\n'])
def test_unreadable_shape_document_of_printed_bytes_is_named(text: str) -> None:
    assert "bytes as Python prints them" in unreadable_shape(FileSample("a.txt", text))
