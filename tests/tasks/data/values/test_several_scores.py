"""Test scores of several people in one value, and counts of votes for and against an answer."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.records import Rating
from tasks.data.values.several_scores import split_values
from tasks.data.verdicts.verdict_names import value_parts
from tests.tasks.data.parsing.row_reader import read, read_file

PAIR = {"prompt": "Name a bird.", "completion": "A wren."}


def asked(*more: dict[str, Any]) -> str:
    _, tally = read(*({**PAIR, "prompt": f"Name bird {n}.", **row} for n, row in enumerate(more)))
    with pytest.raises(UserError) as error:
        tally.check("mine")
    return str(error.value)


def scores(*more: dict[str, Any], fields: Any = None) -> list[list[float]]:
    rows = [{**PAIR, "prompt": f"Name bird {n}.", **row} for n, row in enumerate(more)]
    found, tally = read(*rows, fields=fields or {}, format="rows")
    tally.check("mine", fields or {})
    return [one.row.scores for one in found if isinstance(one.row, Rating) and not one.row.fault]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("4;5;3", ["4", "5", "3"]),
        ("4 | 5", ["4", "5"]),
        ("4,5,3", ["4", "5", "3"]),
        ("4, 5", ["4", "5"]),
        ("4\n5", ["4", "5"]),
        ("[4, 5]", [4, 5]),
        ("4;;5", ["4", "5"]),
        ([4, None, 5], [4, 5]),
        (";", []),
        ("4,5", None),
        ("4/5", None),
        ("4 stars", None),
        (4, None),
    ],
)
def test_split_values_of_one_cell(value: Any, parts: list[Any] | None) -> None:
    assert split_values(value) == parts


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ratings", "4;5;3", [4, 5, 3]),
        ("stars", "★★ | ★★★", [2, 3]),
        ("quality", "4/5; 3/5", [4, 3]),
        ("votes", "yes; no; yes", [1, -1, 1]),
        ("scores by people", "2, 5", [2, 5]),
        ("ratings", [1, 2.5], [1, 2.5]),
        ("grade", "3;", [3]),
    ],
)
def test_several_scores_as_proposed(key: str, value: Any, expected: list[float]) -> None:
    text = asked({key: value}, {key: value})
    name = f'"{key}"' if " " in key else key
    assert f"fields: {{{name}: verdict}}" in text
    assert scores({key: value}, fields={key: "verdict"}) == [expected]


def test_several_scores_of_named_people() -> None:
    row = {**PAIR, "ratings": "4;1", "annotators": "ana;ben"}
    (one,), tally = read(row, fields={"ratings": "verdict"})
    assert isinstance(one.row, Rating)
    assert one.row.annotators == ["ana", "ben"] and not one.anonymous and not tally.unread


def test_several_scores_of_unknown_people_are_penalties_too() -> None:
    assert scores({"ranks": "1;3"}, fields={"ranks": "penalty"}) == [[-1, -3]]


@pytest.mark.parametrize("cell", ["4|3|1", "4;3;1", "4, 3, 1", "[4, 3, 1]"])
def test_rows_scores_in_one_cell(cell: str) -> None:
    assert scores({"scores": cell}) == [[4, 3, 1]]


def test_rows_references_are_not_split() -> None:
    found, _ = read({**PAIR, "references": '["a; b", "c"]'})
    assert found[0].row.references == ["a; b", "c"]  # type: ignore[union-attr]


def test_several_scores_decimal_comma_beside_a_list_stops() -> None:
    rows = [{**PAIR, "prompt": f"Name bird {n}.", "ratings": cell} for n, cell in enumerate(("3,2,4", "3,2"))]
    _, tally = read(*rows, fields={"ratings": "verdict"})
    with pytest.raises(UserError, match="decimal comma"):
        tally.check("mine", {"ratings": "verdict"})


@pytest.mark.parametrize("cells", [["4/3/1", "5/5/2"], ["a; ?", "n; ?"]])
def test_several_scores_unreadable_part_quarantines_its_row(cells: list[str]) -> None:
    found, _ = read(*({**PAIR, "ratings": cell} for cell in cells), fields={"ratings": "verdict"})
    assert all(one.row.fault for one in found)


def test_propose_meaning_many_unreadable_values_is_a_question() -> None:
    text = asked(*({"rating": f"{n % 5}/{n // 5}/1"} for n in range(25)))
    assert "fields: {rating: ...}" in text


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("upvotes", "downvotes"),
        ("likes", "dislikes"),
        ("thumbs_up_count", "thumbs_down_count"),
        ("ups", "downs"),
        ("Helpful votes", "Unhelpful votes"),
        ("votes for", "votes against"),
    ],
)
def test_counts_of_votes_are_scores_of_people(up: str, down: str) -> None:
    text = asked({up: 3, down: 1}, {up: 0, down: 2})
    assert f"{down}" in text
    _, tally = read({**PAIR, up: 3, down: 1}, {**PAIR, up: 2, down: 5})
    fields = {path: tally.propose(path, seen.looks) for path, seen in tally.asks().items()}
    assert fields == {up: "upvotes", down: "downvotes"}
    given = [{up: "3", down: "1"}, {up: 0, down: 2}, {up: 0, down: 0}, {up: None, down: ""}]
    assert scores(*given, fields=fields) == [[1, 1, 1, -1], [-1, -1]]


def test_counts_of_votes_above_the_limit_keep_their_share() -> None:
    (found,) = scores({"ups": 90_000, "downs": 10_000}, fields={"ups": "upvotes", "downs": "downvotes"})
    assert len(found) == 1000 and sum(found) == 800


@pytest.mark.parametrize("value", [-1, 1.5, "many", "[3]"])
def test_counts_of_votes_that_are_none_quarantine_the_row(value: Any) -> None:
    found, _ = read({**PAIR, "upvotes": value}, fields={"upvotes": "upvotes"})
    assert [bool(one.row.fault) for one in found] == [True]


def test_counts_of_votes_beside_a_verdict_are_refused() -> None:
    fields = {"upvotes": "upvotes", "downvotes": "downvotes"}
    found, _ = read({**PAIR, "upvotes": 3, "downvotes": 1, "rating": 4}, fields=fields)
    assert "beside the votes" in found[0].row.fault


def test_several_scores_of_a_table() -> None:
    head = "prompt,completion,ratings\n"
    file = SourceFile("a.csv", (head + "Name a bird.,A wren.,4;5;3\nName two.,A tit and a jay.,\n").encode())
    found, tally = read_file(file, fields=yaml.safe_load("{ratings: verdict}"))
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[4, 5, 3]]
    assert tally.left_out.total() == 1


@pytest.mark.parametrize("face", [":-|", ":|", ";-)", ";)", ":,(", "(;", "|:", ":-\\"])
def test_split_values_face_is_one_value(face: str) -> None:
    assert split_values(face) is None and value_parts(face) == [face]
    assert scores({"mood": face}, {"mood": ":-)"}, fields={"mood": {face: 0, ":-)": 1}}) == [[0], [1]]


@pytest.mark.parametrize("value", ["8|3", "4;5", "=|=", "a|b", "good|bad", "4|", "x|x"])
def test_split_values_bar_between_values_separates(value: str) -> None:
    assert split_values(value) == [part for part in value.replace(";", "|").split("|") if part]
