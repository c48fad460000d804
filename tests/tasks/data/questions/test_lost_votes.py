"""Test that a cell without a vote costs one person's vote, and is reported with its place and reason."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Comparison, Rating
from tests.tasks.data.parsing.row_reader import read_file

TOLD = {"anna": "vote", "ben": "vote"}
AB = {"a": "response_1", "b": "response_2"}


def rated(*votes: str, **told: Any) -> tuple[list[list[float]], SkipCounts]:
    """Return the scores of pairs with votes by anna and ben, and the counts."""
    lines = ["prompt,completion,anna,ben", *(f"Q{n}?,A{n}.,{vote}" for n, vote in enumerate(votes)), ""]
    file = SourceFile("v.csv", "\n".join(lines).encode())
    found, tally = read_file(file, "rows", **{"fields": TOLD, **told})
    return [one.row.scores for one in found if isinstance(one.row, Rating)], tally


def chosen(*votes: str, fields: dict[str, Any] = TOLD, columns: dict[str, str] = AB) -> tuple[Any, Any]:
    """Return the choices of two answers by anna and ben, each with its person, and the counts."""
    header = f"prompt,{columns['a']},{columns['b']},anna,ben"
    lines = [header, *(f"Q{n}?,A{n}.,B{n}.,{vote}" for n, vote in enumerate(votes)), ""]
    file = SourceFile("v.csv", "\n".join(lines).encode())
    found, tally = read_file(file, "rows", fields=fields, columns=columns)
    rows = [(one.row.annotator, one.row.choice) for one in found if isinstance(one.row, Comparison)]
    return rows, tally


@pytest.mark.parametrize(
    "remark", ["see note", "siehe Notiz", "I stopped reading where the answer repeats itself", "blue", "§"]
)
@pytest.mark.parametrize("votes", [("4,5", "1,2", "3,"), ("yes,no", "no,no", "yes,"), ("A,B+", "C,D", "A,")])
def test_read_rows_remark_costs_only_its_persons_vote(remark: str, votes: tuple[str, ...]) -> None:
    whole, _ = rated(*votes[:2], votes[2])
    scores, tally = rated(*votes[:2], votes[2] + remark)
    assert scores == whole and not tally.faults and len(scores) == 3
    tally.check("mine", TOLD)
    (line,) = (line for line in tally.lines(TOLD) if "under ben" in line)
    assert line.startswith("left out: 1 vote under ben; the first: v.csv, line 4: ") and "is no vote" in line


@pytest.mark.parametrize(
    ("cell", "reason"), [("4-Mai", "a date"), ('"1,000"', "separator of thousands"), ("1-2-2024", "a date")]
)
def test_read_rows_vote_that_a_spreadsheet_changed_is_lost_with_the_reason(cell: str, reason: str) -> None:
    scores, tally = rated("4,5", "1,2", f"3,{cell}")
    assert scores == [[4, 5], [1, 2], [3]]
    assert any("v.csv, line 4" in line and reason in line for line in tally.lines(TOLD))


@pytest.mark.parametrize("cell", ["-", "abstained", "?", "can't tell", "skip"])
def test_read_rows_cell_without_a_decision_is_counted_with_its_place(cell: str) -> None:
    for scores, tally in (rated("4,5", f"1,{cell}"), chosen("1,2", f"2,{cell}")):
        assert len(scores) in (2, 3)
        lines = [*tally.lines(TOLD)]
        assert any(line.startswith("left out: 1 ") for line in lines)
        assert f"the first vote without a decision: v.csv, line 3: ben is {cell!r}" in lines


def test_read_rows_row_without_any_vote_left_is_counted_and_not_learned() -> None:
    scores, tally = rated("see note,later", "4,5", "1,2", "3,3", "2,2", "5,1", "4,4")
    assert len(scores) == 6 and tally.pairs == 0
    assert any("pairs that nobody rated" in reason for reason in tally.left_out)


@pytest.mark.parametrize("word", ["meh?", "later", "see note"])
def test_skip_counts_check_column_with_many_lost_votes_is_asked_about(word: str) -> None:
    _, tally = rated("4,5", f"1,{word}", f"3,{word}", "2,2")
    with pytest.raises(UserError, match=r"line 3: fields makes ben a vote, and 2 of its 4 values are none"):
        tally.check("mine", TOLD)


@pytest.mark.parametrize("remark", ["see note", "c", "both of them have a mistake in them somewhere"])
def test_read_rows_remark_in_a_choice_costs_only_its_persons_choice(remark: str) -> None:
    rows, tally = chosen("1,2", "2,tie", "2,2", "1,1", f"1,{remark}")
    assert rows[-1] == ("anna", "a") and len(rows) == 9 and not tally.faults
    tally.check("mine", TOLD)
    assert any("1 vote under ben; the first: v.csv, line 6" in line for line in tally.lines(TOLD))


@pytest.mark.parametrize("votes", [("4,see note", "1,2"), ("1,2", "see note,5"), ("later,see note", "1,2")])
def test_read_rows_strict_source_stops_at_a_lost_vote(votes: tuple[str, ...]) -> None:
    lines = ["prompt,completion,anna,ben", *(f"Q{n}?,A{n}.,{vote}" for n, vote in enumerate(votes)), ""]
    reading = ParseOptions("mine", fields=TOLD)  # type: ignore[arg-type]
    file = SourceFile("v.csv", "\n".join(lines).encode())
    rows = read_rows(find_format("rows"), [file], reading, SkipCounts(), strict=True)
    with pytest.raises(UserError, match=r"source mine is strict: v\.csv, line \d: \w+ is '.*', no vote"):
        list(rows)


@pytest.mark.parametrize(
    ("columns", "meaning", "votes"),
    [
        (AB, "vote", ["1,2", "2,1.0"]), ({"a": "response_0", "b": "response_1"}, "vote", ["0,1", "1,0"]),
        ({"a": "answer_a", "b": "answer_b"}, {"1": "a", "2": "b"}, ["1,2", "2,1"]),
        ({"a": "answer_a", "b": "answer_b"}, {"0": "a", "1": "b", "9": "ignore"}, ["0,1", "1,0"]),
        ({"a": "answer_a", "b": "answer_b"}, {"left": "a", "right": "b"}, ["left,right", "right,left"]),
    ],
)  # fmt: skip
def test_read_rows_numbers_of_people_choose_between_two_answers(
    columns: dict[str, str], meaning: Any, votes: list[str]
) -> None:
    fields = {"anna": meaning, "ben": meaning}
    rows, tally = chosen(*votes, fields=fields, columns=columns)
    assert rows == [("anna", "a"), ("ben", "b"), ("anna", "b"), ("ben", "a")]
    tally.check("mine", fields)


@pytest.mark.parametrize("meaning", ["vote", {"1": "a", "2": "b"}])
def test_skip_counts_check_number_that_names_no_answer_is_asked_about(meaning: Any) -> None:
    fields = {"anna": meaning, "ben": meaning}
    rows, tally = chosen("3,4", "4,3", "1,2", fields=fields, columns={"a": "answer_x", "b": "answer_y"})
    assert len(rows) in (0, 2)
    with pytest.raises(UserError, match="fields makes anna a vote, and"):
        tally.check("mine", fields)
