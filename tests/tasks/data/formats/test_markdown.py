"""Test the format `markdown`."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import ParsedRow, Text
from tasks.data.values.front_matter import LARGEST_FRONT, split_front_matter
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
def test_split_front_matter_only_marked_block_is_removed(text: str, left: str) -> None:
    assert split_front_matter(text)[1] == left


def _documents(front: list[str], mark: str = "---", **told: Any) -> tuple[list[ParsedRow], SkipCounts]:
    files = [
        SourceFile(f"m{n}.md", f"{mark}\n{lines}\n{mark}\nDocument {n} is about birds.\n".encode())
        for n, lines in enumerate(front)
    ]
    tally = SkipCounts()
    reading = ParseOptions("mine", **told)
    return list(read_rows(find_format("markdown"), files, reading, tally)), tally


@pytest.mark.parametrize(
    ("front", "mark", "proposed"),
    [
        (["title: A\ndraft: false", "title: B\ndraft: true"], "---", {"draft": "deleted"}),
        (["status: approved", "status: rejected # by Ana"], "---", {"status": "review"}),
        (["noai = false", "noai = true"], "+++", {"noai": "deleted"}),
        (["title: A: b\npublished: true", "title: B: c\npublished: 'false'"], "---", {"published": "weight"}),
        (["review: {verdict: good}", "review:\n  verdict: bad"], "---", {"review.verdict": "review"}),
    ],
)
def test_markdown_verdict_in_front_matter_is_asked_about(
    front: list[str], mark: str, proposed: dict[str, Any]
) -> None:
    found, tally = _documents(front, mark)
    assert len(found) == 2 and tally.propose_all(tally.asks()) == proposed
    with pytest.raises(UserError, match=f"the key {next(iter(proposed))} is "):
        tally.check("mine")
    found, tally = _documents(front, mark, fields=proposed)
    tally.check("mine", proposed)
    assert [one.row.text for one in found if isinstance(one.row, Text)] == ["Document 0 is about birds."]


@pytest.mark.parametrize("mark", ["deleted: yes", "train: false", "answer: reject", "removed: 2024-01-02"])
def test_markdown_document_that_front_matter_removes_is_left_out(mark: str) -> None:
    found, tally = _documents(["title: A", f"title: B\n{mark}"])
    assert [one.where for one in found] == ["m0.md"]
    assert sum(tally.left_out.values()) == 1


@pytest.mark.parametrize(
    "front",
    [
        "title: A\ndate: 2024-01-02\nweight: 0\ntags: [bird, north]\ncomments: true\ntoc: false",
        "layout: default\nnav_order: 3\nparent: 'Docs'\npermalink: /a/\n",
        "id: a\nslug: /a\nsidebar_position: 1\nhide_title: true\nlast_update:\n  author: Ana",
        "aliases: []\ncreated: 2024-01-01\ncssclass: wide",
    ],
)
def test_markdown_usual_front_matter_is_listed_and_read_past(front: str) -> None:
    found, tally = _documents([front, front.replace("A", "B")])
    tally.check("mine")
    assert len(found) == 2 and any(line.startswith("unused keys: ") for line in tally.lines())


@pytest.mark.parametrize(
    "bad",
    [
        "a: &a [x, x]\nb: [*a, *a]\ndraft: true",
        "title: one: two: three\ndraft: true",
        f"a: {'[' * 2000}\ndraft: true",
        f"a: {'x' * LARGEST_FRONT}\ndraft: true",
    ],
)
def test_split_front_matter_that_is_no_plain_yaml_is_read_by_line(bad: str) -> None:
    values, text = split_front_matter(f"---\n{bad}\n---\nText")
    assert text == "Text" and values["draft"] == "true"
