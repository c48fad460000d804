"""Test comparisons with one column of choices for each person."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import choose_reading
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.parsing.skip_counts import SkipCounts
from tasks.data.records import Comparison, ParsedRow


def read(file: SourceFile, format: str = "rows", **told: Any) -> tuple[list[ParsedRow], SkipCounts]:
    tally = SkipCounts()
    known, reading = choose_reading([file], "mine", format, ParseOptions("mine", **told))
    return list(read_rows(find_format(known.name), [file], reading, tally)), tally


WIDE: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "letters": ("prompt,a,b,annotator_1,annotator_2", ["Who?,x,y,a,b", "What?,x,y,b,b"], {}),
    "names": (
        "question,answer_1,answer_2,anna,ben", ["Who?,x,y,Answer 1,B", "What?,x,y,answer_2,b"],
        {"prompt": "question", "a": "answer_1", "b": "answer_2"},
    ),
    "sides": (
        "prompt,response_a,response_b,vote_a,vote_b", ["Who?,x,y,response_a,response_b", "Q?,x,y,B,model b"],
        {"a": "response_a", "b": "response_b"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_read_rows_column_of_choices_per_person_needs_vote_meaning(name: str) -> None:
    header, lines, columns = WIDE[name]
    file = SourceFile("v.csv", "\n".join([header, *lines, ""]).encode())
    people = header.split(",")[-2:]
    with pytest.raises(
        UserError, match=rf"{people[0]}, {people[1]} hold a choice each; .*{people[0]}: vote, "
    ):
        read(file, "auto")
    told = dict.fromkeys(people, "vote")
    found, tally = read(file, columns=columns, fields=told)
    tally.check("mine", told)
    rows = [one.row for one in found if isinstance(one.row, Comparison)]
    assert [(row.choice, row.annotator) for row in rows] == [
        ("a", people[0]), ("b", people[1]), ("b", people[0]), ("b", people[1]),
    ]  # fmt: skip
    assert len({row.prompt for row in rows}) == 2 and {(row.a, row.b) for row in rows} == {("x", "y")}
    assert not tally.nameless and not [*tally.lines()]


def test_read_rows_missing_vote_gives_no_row() -> None:
    rows = [{"votes": {"ana": "a", "ben": None}}, {"votes": {"ana": ""}}, {"votes": {"ben": "tie"}}]
    made = [{"prompt": f"P{n}", "a": "x", "b": "y", **row} for n, row in enumerate(rows)]
    file = SourceFile("v.jsonl", "".join(json.dumps(row) + "\n" for row in made).encode())
    found, tally = read(file, fields={"votes.ana": "vote", "votes.ben": "vote"})
    assert [(one.row.choice, one.row.annotator) for one in found] == [
        ("a", "ana"),
        ("tie", "ben"),
    ]  # type: ignore[union-attr]
    assert tally.left_out == {"rows without a vote": 1}


def test_read_rows_votes_beside_choice_need_meaning() -> None:
    file = SourceFile("v.csv", b"prompt,a,b,choice,anna,ben\nWho?,x,y,a,a,b\nWhat?,x,y,b,b,b\n")
    _, tally = read(file)
    with pytest.raises(
        UserError, match=r"anna, ben hold a vote each .*fields: \{anna: ignore, ben: ignore\}"
    ):
        tally.check("mine")
    told = {"anna": "ignore", "ben": "ignore"}
    found, tally = read(file, fields=told)
    tally.check("mine", told)
    assert len(found) == 2


@pytest.mark.parametrize("key", ["choice_2", "second choice", "picked_by_ben"])
def test_read_rows_second_choice_needs_meaning(key: str) -> None:
    file = SourceFile("v.csv", f"prompt,a,b,choice,{key}\nWho?,x,y,a,b\nWhat?,x,y,b,a\n".encode())
    _, tally = read(file)
    with pytest.raises(UserError, match=f"the key {key} is 'b' and looks like a verdict"):
        tally.check("mine")
