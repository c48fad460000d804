"""Test titles above the header of a table, with and without a comma, and the name of a tab in an error."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile

ROWS = "prompt,completion\nWho?,Me.\nWhy?,So.\n"


def items(text: str, name: str = "a.csv") -> list[dict[str, object]]:
    return [item.values for item in SourceFile(name, text.encode()).items()]


@pytest.mark.parametrize("title", ["My survey", "My survey,", "Results of May,", '"Who, and why",'])
def test_table_title_above_header_is_named(title: str) -> None:
    with pytest.raises(UserError, match="title above the header"):
        items(f"{title}\n{ROWS}")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("text,\nhello,\nbye,\n", 2),
        ("the text,\nhello,\n", 1),
        ("the text,\nhello there,good\n", 1),
        (ROWS, 2),
        ("the prompt,completion\nWho,Me\n", 1),
    ],
)
def test_table_header_beside_empty_cell_is_no_title(text: str, rows: int) -> None:
    assert len(items(text)) == rows


@pytest.mark.parametrize("row", ['"a"b\tc', 'x\t"y"z'])
def test_table_error_about_tab_names_it(row: str) -> None:
    with pytest.raises(UserError) as caught:
        items(f"prompt\tcompletion\n{row}\n", "a.tsv")
    assert "a tab expected after" in str(caught.value) and "\t" not in str(caught.value)
