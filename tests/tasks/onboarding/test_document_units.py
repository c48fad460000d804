"""What `init` takes for one document of text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.data.file_io.files import SourceFile
from tasks.data.records import Text
from tasks.onboarding.document_units import choose_unit
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.preset_writer import _source_section

SENTENCES = "".join(f"The mill number {n} stands by the river.\n" for n in range(60))
QUOTED = "".join(f"“Who has built the mill {n}?”\r\n" for n in range(60))
CHINESE = "".join(f"第{n}座磨坊在河边。\n" for n in range(60))
# A text that somebody wrapped at a width: hardly a line ends with a sentence.
WRAPPED = "".join(f"the river and the mill of number {n} and\n" for n in range(60)) + "the end.\n"
SEVERAL = "".join(f"The mill {n} is old. It stands by the river.\n" for n in range(60))
VERSE = "".join(f"A mill {n} upon the hill\n" for n in range(60))
BLOCKS = "".join(f"The mill number {n} is old.\nIt is tall.\n\n" for n in range(60))
SHORT = "The mill is old.\nIt is tall.\n"


@pytest.mark.parametrize(
    "text", [SENTENCES, QUOTED, CHINESE, f"A title\n\n{SENTENCES}", SENTENCES + "Unended\n"]
)
def test_choose_unit_one_sentence_a_line_is_a_document_each(text: str) -> None:
    chosen = choose_unit([SourceFile("a.txt", text.encode())])
    assert chosen.unit == "line" and chosen.reason.startswith("Each line is a document: 60 of the 6")


@pytest.mark.parametrize("text", [WRAPPED, SEVERAL, VERSE, BLOCKS, SHORT, "", "\n\n"])
def test_choose_unit_other_texts_are_split_at_blank_lines(text: str) -> None:
    assert choose_unit([SourceFile("a.txt", text.encode())]) == ("paragraph", "")


def test_choose_unit_many_files_are_documents() -> None:
    assert choose_unit([SourceFile(f"{n}.txt", SENTENCES.encode()) for n in range(50)]).unit == "file"


def test_choose_unit_undecodable_line_ends_the_reading() -> None:
    wrong = SENTENCES.encode() + b"na\xefve\n"
    assert choose_unit([SourceFile("a.txt", wrong)]).unit == "line"


def test_scan_folder_sentences_are_documents_with_the_reason_in_the_preset(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text(SENTENCES, encoding="utf-8")
    (source,) = scan_folder(tmp_path, tmp_path).sources
    assert len(source.rows) == 60 and all(isinstance(row, Text) for row in source.rows)
    section = "\n".join(_source_section(source))
    assert "document_unit: line}" in section and "# Each line is a document: 60 of the 60" in section
