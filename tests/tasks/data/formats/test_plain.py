"""Test the format `plain`."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats import plain
from tasks.data.records import Text, text_digest
from tests.tasks.data.formats.export_reader import parse_by_kind, read, sample


def test_plain_file_is_one_document() -> None:
    (row,) = parse_by_kind("plain", "plain.txt").text
    assert row.text == "The harbour was quiet.\nOnly two boats lay there."
    assert row.source == "mine" and row.group == text_digest(row.text) and len(row.id) == 16


def test_plain_empty_file_has_no_rows() -> None:
    assert parse_by_kind("plain", b" \n\n").text == []


def test_plain_invalid_utf8_is_refused_with_place() -> None:
    with pytest.raises(UserError, match=r"given\.jsonl: not UTF-8 at byte 4"):
        parse_by_kind("plain", "abcd\xe9".encode("latin-1"))


def test_plain_paragraphs_are_documents_with_lines() -> None:
    found = read("plain", sample("plain_paragraphs.txt"), document_unit="paragraph")
    assert [(one.row.text, one.where) for one in found if isinstance(one.row, Text)] == [
        ("The harbour was quiet.\nOnly two boats lay there.", "plain_paragraphs.txt, line 1"),
        ("The old mill\n    stood still.", "plain_paragraphs.txt, line 6"),
        ("A teacher sold letters.", "plain_paragraphs.txt, line 10"),
    ]
    (whole,) = read("plain", sample("plain_paragraphs.txt"))
    assert isinstance(whole.row, Text) and whole.row.text.count("\n") == 9 and "\r" not in whole.row.text


def test_plain_oversized_document_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "LONGEST", 20)
    file = SourceFile("a.txt", b"short.\n\nthis line\nand this line\n")
    with pytest.raises(UserError, match=r"a\.txt, line 3: a paragraph of more than"):
        read("plain", file, document_unit="paragraph")
    with pytest.raises(UserError, match=r"a\.txt: above .* too large .*; document_unit: paragraph makes"):
        read("plain", file)


def test_plain_invalid_utf8_in_paragraph_is_refused_with_line() -> None:
    with pytest.raises(UserError, match=r"a\.txt, line 3: not UTF-8 at byte 7"):
        read("plain", SourceFile("a.txt", b"one\n\ntw\xe9"), document_unit="paragraph")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (["a", "", "b"], {1: "a", 3: "b"}),
        (["", "One.", "Two.", "", " ", "Three.", ""], {2: "One.\nTwo.", 6: "Three."}),
        (["x\u2028y", "", "", "z"], {1: "x\u2028y", 4: "z"}),
        (["only one", "paragraph"], {1: "only one\nparagraph"}),
    ],
)  # fmt: skip
def test_plain_every_line_end_makes_blank_lines(end: str, lines: list[str], texts: dict[int, str]) -> None:
    file = SourceFile("a.txt", end.join(lines).encode())
    found = read("plain", file, document_unit="paragraph")
    assert [(one.where, one.row.text) for one in found if isinstance(one.row, Text)] == [
        (f"a.txt, line {number}", text) for number, text in texts.items()
    ]
    (whole,) = read("plain", file)
    assert isinstance(whole.row, Text) and whole.row.text == "\n".join(lines).strip()


def test_plain_mixed_line_ends_keep_line_numbers() -> None:
    file = SourceFile("a.txt", b"a\r\rb\n\nc\r\n\r\nd\r\re")
    found = read("plain", file, document_unit="paragraph")
    assert [one.where.rpartition(" ")[2] for one in found] == ["1", "3", "5", "7", "9"]
