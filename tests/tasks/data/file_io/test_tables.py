"""Test tables with a byte order mark in odd places, messages about two faults of one file, and full disks."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile

MARK = b"\xef\xbb\xbf"
ROWS = b"prompt;completion\r\nWho?;Me.\r\n"


@pytest.mark.parametrize(
    "content",
    [
        MARK + b"sep=;\r\n" + ROWS,
        b"sep=;\r\n" + MARK + ROWS,
        MARK + b"sep=;\n" + MARK + ROWS,
        b'sep=;\n"\xef\xbb\xbfprompt";completion\r\nWho?;Me.\r\n',
        ("sep=;\n\ufeff" + ROWS.decode()).encode("utf-16"),
        MARK + b'"sep=;"\r\n' + ROWS,
    ],
)
def test_table_byte_order_mark_beside_the_separator_line(content: bytes) -> None:
    found = [item.values for item in SourceFile("a.csv", content).items()]
    assert found == [{"prompt": "Who?", "completion": "Me."}]


def umlauts(head: str, delimiter: str, encoding: str) -> bytes:
    return f"{head}\n{delimiter.join(('Wer bläst?', 'Der Föhn.'))}\n".encode(encoding)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", umlauts("Frage;Antwort", ";", "cp1252")),
        ("a.csv", umlauts("Fräge;Antwort", ";", "cp1252")),
        ("a.csv", umlauts("Frage|Antwörtchen", "|", "latin-1")),
        ("a.tsv", umlauts("Größe,Antwort", ",", "cp1252")),
        ("a.csv", umlauts("Frage\tAntwort", "\t", "cp1252")),
    ],
)
def test_table_wrong_delimiter_and_encoding_are_one_message(name: str, content: bytes) -> None:
    with pytest.raises(UserError) as refused:
        # A short row: no other delimiter splits this table by itself.
        list(SourceFile(name, content + b"Wer?\n").items())
    said = str(refused.value)
    assert "UTF-8" in said and "save it as UTF-8" in said and "the delimiter seems to be" in said


@pytest.mark.parametrize("head", ["Frage;Antwort", "Fräge;Antwort", "Frage\tAntwort", "Größe|Antwort"])
@pytest.mark.parametrize("rows", [1, 100_000])
def test_table_other_delimiter_that_is_found_names_only_the_encoding(head: str, rows: int) -> None:
    delimiter = next(one for one in ";\t|" if one in head)
    text = f"{head}\n" + f"Wer bläst?{delimiter}Der Föhn.\n" * rows
    with pytest.raises(UserError) as refused:
        list(SourceFile("a.csv", text.encode("cp1252")).items())
    said = str(refused.value)
    assert said.startswith("a.csv") and "not UTF-8 at byte " in said and said.endswith("; save it as UTF-8")
    assert "delimiter" not in said and "column" not in said
    assert len(list(SourceFile("a.csv", text.encode()).items())) == rows


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", umlauts("Frage,Antwort", ",", "cp1252"), "not UTF-8 at byte 20; save it as UTF-8"),
        ("a.csv", umlauts("Frage;Antwort", ";", "utf-8") + b"Wer?\n", "above the header"),
        ("a.csv", b"sep=;\n" + umlauts("Frage;Antwort", ";", "cp1252"), "save it as UTF-8"),
    ],
)
def test_table_with_one_fault_names_only_that(name: str, content: bytes, says: str) -> None:
    with pytest.raises(UserError) as refused:
        list(SourceFile(name, content).items())
    said = str(refused.value)
    assert said.endswith(says) and ("UTF-8" in said) is not ("delimiter seems" in said)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("prompt;completion\nWhy?;So.\n", [("Why?", "So.")]),
        (
            '\ufeffprompt;completion\r\n"Why; how?";"So, 3,5\nmore"\r\n;;\r\n',
            [("Why; how?", "So, 3,5\nmore"), ("", "")],
        ),
        ("prompt\tcompletion\nWhy, so?\tIt, is; so.\n", [("Why, so?", "It, is; so.")]),
        ("prompt|completion\n\na;b|c\nd|e;f\n", [("a;b", "c"), ("d", "e;f")]),
        ("prompt;completion\rWhy?;So.\r", [("Why?", "So.")]),
        ("prompt;completion\n", None), ("prompt;completion\na;b;c\n", None),
        ("a;b|c\nd;e|f\n", None), ('"prompt;completion"\n"a;b"\n', None),
        ("sep=,\nprompt;completion\na;b\n", None), ('prompt;completion\n"a;b\n', None),
        ("prompt;completion\nonly one\n", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_table_only_even_delimiter_is_read_and_others_are_refused(
    content: str, rows: list[tuple[str, str]] | None, encoding: str
) -> None:
    file = SourceFile("a.csv", content.encode(encoding))
    if rows is None:
        assert file.other_delimiter() == ""
        with pytest.raises(UserError, match="the delimiter seems to be"):
            list(file.items())
    else:
        found = [(item.values["prompt"], item.values["completion"]) for item in file.items()]
        assert found == rows and file.other_delimiter() in ("|", "\t", ";")


@pytest.mark.parametrize("ending", ["tsv", "tab"])
def test_table_named_tsv_with_semicolons_is_read_and_with_commas_is_refused(ending: str) -> None:
    read = SourceFile(f"a.{ending}", b"prompt;completion\nWhy?;So.\n")
    assert [item.values for item in read.items()] == [{"prompt": "Why?", "completion": "So."}]
    with pytest.raises(UserError, match="the delimiter seems to be a comma"):
        list(SourceFile(f"a.{ending}", b"prompt,completion\nWhy?,So.\n").items())
    assert SourceFile(f"a.{ending}", b"prompt\tcompletion\nWhy?\tSo.\n").other_delimiter() == ""
