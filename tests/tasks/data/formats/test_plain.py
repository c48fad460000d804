"""Test the format `plain`."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats import plain
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
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


@pytest.mark.parametrize(
    ("format", "name", "content"),
    [
        ("plain", "a.txt", b""), ("plain", "a.txt", b" \n\n"), ("plain", "a.txt", b"\xef\xbb\xbf"),
        ("markdown", "a.md", b""), ("markdown", "a.md", b"---\ntitle: x\n---\n"), ("rows", "a.csv", b""),
        ("rows", "a.csv", b"text\n"), ("rows", "a.json", b""), ("rows", "a.json", b"[]"),
        ("rows", "a.jsonl", b"\n\n"), ("hh_rlhf", "a.jsonl", b""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("unit", ["file", "paragraph"])
def test_read_rows_empty_file_is_counted(format: str, name: str, content: bytes, unit: str) -> None:
    tally = SkipCounts()
    reading = ParseOptions("mine", document_unit="paragraph" if unit == "paragraph" else "file")
    assert not list(read_rows(find_format(format), [SourceFile(name, content)], reading, tally))
    assert list(tally.lines()) == ["left out: 1 empty file"]


@pytest.mark.parametrize("content", [b"caf\xe9 au lait", b"\x93Oh\x94", b"good\n\nna\xefve\n\nlast"])
@pytest.mark.parametrize(("format", "name"), [("plain", "a.txt"), ("markdown", "a.md")])
def test_read_rows_invalid_utf8_file_is_one_fault(content: bytes, format: str, name: str) -> None:
    tally = SkipCounts()
    files = [SourceFile(name, content), SourceFile("b.txt", b"A good text.")]
    broken, good = read_rows(find_format(format), files, ParseOptions("mine"), tally)
    assert broken.row.fault.startswith(f"{name}: not UTF-8 at byte ") and isinstance(broken.row, Text)
    assert isinstance(good.row, Text) and good.row.text == "A good text." and tally.faults == 1
    with pytest.raises(UserError, match=r"is strict: .* not UTF-8"):
        list(read_rows(find_format(format), files, ParseOptions("mine"), SkipCounts(), strict=True))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_plain_lines_are_documents_with_their_numbers(end: str) -> None:
    text = end.join(["\ufeffThe mill is old.", "", "  It is tall. ", "\t", "It creaks."])
    found = read("plain", SourceFile("a.txt", text.encode()), document_unit="line")
    assert [(one.row.text, one.where) for one in found if isinstance(one.row, Text)] == [
        ("The mill is old.", "a.txt, line 1"), ("It is tall.", "a.txt, line 3"),
        ("It creaks.", "a.txt, line 5"),
    ]  # fmt: skip


def test_read_rows_invalid_utf8_in_line_keeps_those_before() -> None:
    file, reading = SourceFile("a.txt", b"one\ntw\xe9\nthree"), ParseOptions("mine", document_unit="line")
    found = list(read_rows(find_format("plain"), [file], reading, SkipCounts()))
    assert [one.row.text for one in found if isinstance(one.row, Text)] == ["one", ""]
    assert found[1].row.fault.startswith("a.txt, line 2: not UTF-8 at byte 6")
    assert found[1].row.fault.endswith("the file is read up to there")


def test_read_rows_invalid_utf8_in_paragraph_keeps_those_before() -> None:
    file = SourceFile("a.txt", b"one\n\ntw\xe9\n\nthree")
    found = list(
        read_rows(find_format("plain"), [file], ParseOptions("mine", document_unit="paragraph"), SkipCounts())
    )
    assert [one.row.text for one in found if isinstance(one.row, Text)] == ["one", ""]
    assert found[1].row.fault == (
        "a.txt, line 3: not UTF-8 at byte 7; save it as UTF-8; the file is read up to there"
    )


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
