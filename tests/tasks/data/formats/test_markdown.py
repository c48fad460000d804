"""Test the format `markdown`."""

from __future__ import annotations

import pytest

from tasks.data.formats.markdown import without_front_matter
from tasks.data.records import Text
from tests.tasks.data.formats.export_reader import read, sample


def test_markdown_keeps_text_without_front_matter() -> None:
    ((row, where, *_),) = read("markdown", sample("markdown.md"))
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
