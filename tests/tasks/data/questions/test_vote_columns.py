"""Test which columns are taken for one person's votes each, and that the proposal reads all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import ParsedRow
from tasks.data.verdicts.ordinary_columns import is_ordinary_flag, is_ordinary_number
from tests.tasks.data.parsing.row_reader import read, read_file

TURNS = [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "A robin."}]


def table(
    people: str, *votes: str, fields: dict[str, str] | None = None
) -> tuple[list[ParsedRow], SkipCounts]:
    rows = (f"Q{n}?,A{n}.,{vote}" for n, vote in enumerate(votes))
    text = "\n".join([f"prompt,completion,{people}", *rows, ""])
    return read_file(SourceFile("v.csv", text.encode()), fields=fields or {})


def check_people(people: str, votes: Sequence[str]) -> None:
    """Check that each column is proposed as a person's votes, and is read so with the proposal."""
    _, tally = table(people, *votes)
    proposal = tally.propose_all(tally.asks())
    assert proposal == dict.fromkeys(people.split(","), "vote")
    found, tally = table(people, *votes, fields=proposal)
    tally.check("mine", proposal)
    assert [one.row.annotators for one in found] == [people.split(",")] * len(votes)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("people", "votes", "scores"),
    [
        ("anna,ben", ["1,5", "4,2"], [[1, 5], [4, 2]]), ("anna,ben", ["7,1", "2,6"], [[7, 1], [2, 6]]),
        ("anna,ben", ["10,1", "3,8"], [[10, 1], [3, 8]]), ("anna,ben", ["0,1", "1,1"], [[0, 1], [1, 1]]),
        ("anna,ben", ["85,20", "40,99"], [[85, 20], [40, 99]]),
        ("anna,ben", ["4.5,3", "2.5,1"], [[4.5, 3], [2.5, 1]]),
        ("anna,ben", ["80%,20%", "30%,90%"], [[80, 20], [30, 90]]),
        ("anna,ben", ["-2,2", "0,1"], [[-2, 2], [0, 1]]),
        ("anna,ben", ["yes,no", "no,yes"], [[1, -1], [-1, 1]]),
        ("anna,ben", ["y,n", "n,n"], [[1, -1], [-1, -1]]), ("anna,ben", ["+,-", "-,"], [[1, -1], [-1]]),
        ("anna,ben", ["true,false", "false,true"], [[1, -1], [-1, 1]]),
        ("anna,ben", ["+1,-1", "-1,+1"], [[1, -1], [-1, 1]]),
        ("anna,ben", ["4,", ",2", "5,"], [[4], [2], [5]]),
        ("Anna Berg,Max", ["1,5", "4,2"], [[1, 5], [4, 2]]),
        ("anna_k,ben_j", ["yes,no", "no,no"], [[1, -1], [-1, -1]]),
        ("ana@x.org,ben@y.co.uk", ["1,5", "4,2"], [[1, 5], [4, 2]]),
        ("gül,jörg", ["gut,schlecht", "schlecht,gut"], [[1, -1], [-1, 1]]),
        ("anna,ben,eva", ["4,5,skip", "1,2,3", "2,2,2"], [[4, 5], [1, 2, 3], [2, 2, 2]]),
        ("anna,ben,eva", ["4,5,-", "1,2,3", "2,?,2"], [[4, 5], [1, 2, 3], [2, 2]]),
        ("anna,ben,eva,dan", ["4,5,1,skip", "1,2,3,4"], [[4, 5, 1], [1, 2, 3, 4]]),
        ("anna,ben,eva,dan", ["4,5,skip,skip", "1,2,skip,4"], [[4, 5], [1, 2, 4]]),
    ],
)  # fmt: skip
def test_find_vote_columns_all_are_proposed_and_read(
    people: str, votes: list[str], scores: list[list[float]]
) -> None:
    _, tally = table(people, *votes)
    proposal = tally.propose_all(tally.asks())
    voters = [
        name
        for n, name in enumerate(people.split(","))
        if any(vote.split(",")[n] not in ("skip", "") for vote in votes)
    ]
    assert proposal == dict.fromkeys(voters, "vote")
    found, tally = table(people, *votes, fields=proposal)
    tally.check("mine", proposal)
    assert [one.row.scores for one in found] == scores  # type: ignore[union-attr]


def test_read_rows_cell_without_a_vote_is_counted_and_leaves_no_pair() -> None:
    told = {"anna": "vote", "ben": "vote"}
    found, tally = table("anna,ben", "skip,?", "4,can't tell", fields=told)
    assert [one.row.scores for one in found] == [[4.0]]  # type: ignore[union-attr]
    assert tally.left_out["votes without a decision, such as skip or ?"] == 3
    assert any("pairs that nobody rated" in reason for reason in tally.left_out)


@pytest.mark.parametrize("row", [{"messages": TURNS}, {"text": "Some words."}])
@pytest.mark.parametrize("votes", [(1, 5), ("yes", "no"), ("+", "-"), (True, False), (2.5, 4)])
def test_skip_counts_check_votes_beside_other_rows_are_asked(row: dict, votes: tuple) -> None:  # type: ignore[type-arg]
    _, tally = read({**row, "anna": votes[0], "ben": votes[1]}, {**row, "anna": votes[1]})
    with pytest.raises(UserError, match="the columns anna, ben "):
        tally.check("mine")


@pytest.mark.parametrize("votes", ["4,5,see note,1", "maybe,4,5,2"])
def test_find_vote_columns_odd_word_leaves_no_column_out(votes: str) -> None:
    people = "anna,ben,eva,dan"
    _, tally = table(people, votes, "1,2,3,4", "2,2,2,2")
    assert [*tally.asks()] == people.split(",")
    fields = dict.fromkeys(people.split(",")[1:3], "vote")
    _, tally = table(people, votes, "1,2,3,4", "2,2,2,2", fields=fields)
    with pytest.raises(UserError, match="the columns anna, dan "):
        tally.check("mine", fields)


@pytest.mark.parametrize(
    ("names", "votes"),
    [
        ("page,chapter", ["1,2", "3,4"]), ("length,year", ["12,2001", "40,1999"]),
        ("top_k,num_beams", ["40,4", "40,4"]), ("lat,lon", ["50.1,8.2", "3.1,9.5"]),
        ("price,stock", ["4,5", "9,3"]), ("has_code,is_long", ["1,0", "0,1"]),
        ("multilingual,translated", ["yes,no", "no,yes"]), ("stream,cached", ["true,false", "false,false"]),
        ("urgent,newsletter", ["yes,no", "no,no"]), ("row_id,parent_id", ["1,0", "2,1"]),
        ("n_tokens,n_chars", ["5,9", "7,3"]), ("timestamp,idx", ["1700000000,1", "1700000001,2"]),
        ("level,difficulty", ["1,2", "3,4"]), ("answerable,synthetic", ["1,0", "1,1"]),
        ("turns,hops", ["1,2", "2,3"]), ("Seite,Kapitel", ["1,2", "2,3"]),
        ("cot,fewshot", ["yes,no", "no,no"]),
        ("long_form,open_book", ["1,0", "1,1"]), ("src,tgt", ["1,2", "1,1"]), ("min,max", ["1,5", "2,4"]),
        ("sim,ppl", ["0.83,4.21", "0.71,3.17"]), ("width,height", ["3,4", "5,6"]),
        ("views,comments", ["3,1", "50,4"]), ("seed,shard", ["42,0", "42,1"]), ("alpha,beta", ["1,2", "2,1"]),
        ("año,precio", ["3,4", "5,6"]), ("topic,lang", ["good,no", "bad,en"]),
        ("score_chosen,score_rejected", ["5,2", "4,1"]),
        ("note,remark", ["ok,?", "?,-"]),
    ],
)  # fmt: skip
def test_skip_counts_asks_ordinary_columns_are_no_votes(names: str, votes: list[str]) -> None:
    _, tally = table(names, *votes)
    assert not any(seen.looks == "a column of one person's votes" for seen in tally.asks().values())


@pytest.mark.parametrize(
    ("people", "votes", "scores"),
    [
        ("anna,ben", ["A,C", "B,F"], [[4, 2], [3, -1]]),
        ("anna,ben", ["A-,B+", "C,A+"], [[3.7, 3.3], [2, 4.3]]),
        ("anna,ben", ["a,b", "b,d"], [[4, 3], [3, 1]]), ("Anna M.,Ben K.", ["A,B", "B,A"], [[4, 3], [3, 4]]),
        ("anna,ben", ["A*,E", "C,"], [[4.3, 0], [2]]), ("a.meyer,b.kunz", ["A,skip", "B,C"], [[4], [3, 2]]),
    ],
)  # fmt: skip
def test_find_vote_columns_grades_are_proposed_and_read(
    people: str, votes: list[str], scores: list[list[float]]
) -> None:
    _, tally = table(people, *votes)
    proposal = tally.propose_all(tally.asks())
    assert proposal == dict.fromkeys(people.split(","), "vote")
    found, tally = table(people, *votes, fields=proposal)
    tally.check("mine", proposal)
    assert [one.row.scores for one in found] == scores  # type: ignore[union-attr]


@pytest.mark.parametrize("votes", [["A,4", "C,2"], ["B+,yes", "A,no"], ["A,80%", "D,20%"]])
def test_skip_counts_check_grades_beside_another_scale_are_asked(votes: list[str]) -> None:
    told = {"anna": "vote", "ben": "vote"}
    _, tally = table("anna,ben", *votes, fields=told)
    with pytest.raises(UserError, match="two scales"):
        tally.check("mine", told)


@pytest.mark.parametrize("names", ["section,zone", "vitamin,size", "arm,block", "option,choice_key"])
def test_skip_counts_asks_letters_of_classes_are_no_votes(names: str) -> None:
    _, tally = table(names, "A,C", "D,B", "C,E")
    assert not any(seen.looks == "a column of one person's votes" for seen in tally.asks().values())


@pytest.mark.parametrize(
    "people",
    ["a.meyer,b.kunz", "Anna M.,Ben K.", "Dr. Kim,Dr. Wu", "anna.meyer,anna.kunz", "A. B. Cole,D. Eaton"],
)
@pytest.mark.parametrize("votes", [["1,5", "4,2"], ["yes,no", "no,yes"], ["good,bad", "bad,bad"]])
def test_find_vote_columns_names_with_dots_and_spaces_are_people(people: str, votes: list[str]) -> None:
    check_people(people, votes)


PAIR = {"prompt": "Q?", "completion": "A."}


@pytest.mark.parametrize(
    ("first", "second", "people"),
    [
        ({"votes": {"anna": 4, "ben": 1}}, {"votes": {"anna": 2, "ben": 5}}, ["anna", "ben"]),
        ({"meta": {"anna": True, "ben": False}}, {"meta": {"anna": False}}, ["anna", "ben"]),
        ({"meta": {"by": {"anna": "good", "ben": "bad"}}}, {"meta": {}}, ["anna", "ben"]),
        ({"votes": {"a.meyer": 4, "b.kunz": 1}}, {"votes": {"a.meyer": 2}}, ["a.meyer", "b.kunz"]),
        ({"people": {"Anna M.": "A", "Ben K.": "C"}}, {"people": {"Anna M.": "B"}}, ["Anna M.", "Ben K."]),
        ({"anna": {"rating": 4}, "ben": {"rating": 1}}, {"anna": {"rating": 2}}, ["anna", "ben"]),
        ({"by": {"anna": {"vote": "yes"}, "ben": {"vote": "no"}}}, {}, ["anna", "ben"]),
    ],
)  # fmt: skip
def test_find_vote_columns_people_in_an_object_are_proposed_and_read(
    first: dict[str, object], second: dict[str, object], people: list[str]
) -> None:
    rows = [{**PAIR, **first}, {"prompt": "Q2?", "completion": "A2.", **second}]
    _, tally = read(*rows)
    proposal = tally.propose_all(tally.asks())
    assert len(proposal) == 2 and set(proposal.values()) == {"vote"}
    found, tally = read(*rows, fields=proposal)
    tally.check("mine", proposal)
    assert found[0].row.annotators == people  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "beside",
    [
        {"usage": {"cached": 1, "reasoning": 3}}, {"params": {"alpha": 1, "nucleus": 2}},
        {"meta": {"page": 3, "chapter": 4}}, {"meta": {"has_code": True, "is_long": False}},
        {"meta": {"temperature": 0.7, "top_p": 0.95}}, {"timings": {"load": 1, "run": 4}},
    ],
)  # fmt: skip
def test_skip_counts_asks_ordinary_objects_are_no_votes(beside: dict[str, object]) -> None:
    _, tally = read({**PAIR, **beside}, {"prompt": "Q2?", "completion": "A2.", **beside})
    assert not any(seen.looks == "a column of one person's votes" for seen in tally.asks().values())


def test_find_vote_columns_one_person_of_an_object_left_out_is_asked_about() -> None:
    fields = {"votes.anna": "vote"}
    rows = [
        {**PAIR, "votes": {"anna": 4, "ben": 1}},
        {**PAIR, "prompt": "R?", "votes": {"anna": 2, "ben": 3}},
    ]
    _, tally = read(*rows, fields=fields)
    with pytest.raises(UserError, match=r"votes\.ben"):
        tally.check("mine", fields)


SIDES = {"a": "answer_x", "b": "answer_y"}


def choices(*votes: str, fields: dict[str, str] | None = None) -> SkipCounts:
    rows = (f"Q{n}?,A{n}.,B{n}.,{vote}" for n, vote in enumerate(votes))
    text = "\n".join(["prompt,answer_x,answer_y,anna,ben,clara", *rows, ""])
    file = SourceFile("v.csv", text.encode())
    return read_file(file, "rows", columns=SIDES, fields=fields or {})[1]


@pytest.mark.parametrize(
    ("votes", "clara"),
    [
        (["A,B,skip", "B,B,A", "A,A,A"], "vote"), (["A,B,", "B,B,A", "A,A,"], "vote"),
        (["A,B,2", "B,B,1", "A,A,1"], '{"1": a, "2": b}'),
        (["A,B,0", "B,B,1", "A,A,1"], '{"0": ..., "1": ...}'), (["A,tie,?", "B,B,B", "A,A,"], "vote"),
    ],
)  # fmt: skip
def test_propose_vote_no_person_of_two_answers_is_left_out(votes: list[str], clara: str) -> None:
    tally = choices(*votes)
    proposal = tally.propose_all(tally.asks())
    assert proposal == {"anna": "vote", "ben": "vote", "clara": clara}
    fields = {"anna": "vote", "ben": "vote"}
    with pytest.raises(
        UserError, match=f"the column clara looks like .*{re.escape(f'fields: {{clara: {clara}}}')}"
    ):
        choices(*votes, fields=fields).check("mine", fields)


@pytest.mark.parametrize("name", ["anna", "Max", "Will", "manfred", "ahmed", "jo", "王芳", "Müller"])
def test_is_ordinary_name_of_a_person_is_none(name: str) -> None:
    assert not is_ordinary_number(name) and not is_ordinary_flag(name)


_FIVES = ["1,5", "4,2", "5,1", "2,3", "3,4", "1,1"]


@pytest.mark.parametrize(
    "people",
    [
        "Ana Lima,Max Roth", "Tom Price,Mia Page", "max_r,ana_l", "Grace Score,Ana Lima", "Jon Best,Eva Kurz",
        "Nina Model,Sam State", "tom_price,mia_page", "Max-Roth,Ana-Lima", "MAX ROTH,ANA LIMA",
    ],
)  # fmt: skip
def test_find_vote_columns_surname_that_is_a_measure_is_a_person(people: str) -> None:
    check_people(people, _FIVES)


@pytest.mark.parametrize("votes", [["yes,no", "no,yes"], ["good,bad", "bad,bad"], ["up,down", "down,up"]])
@pytest.mark.parametrize("people", ["Ana Lima,Max Roth", "Tom Price,Mia Page", "max_r,ana_l"])
def test_find_vote_columns_surname_that_is_a_measure_has_votes_in_words(
    people: str, votes: list[str]
) -> None:
    _, tally = table(people, *votes)
    assert tally.propose_all(tally.asks()) == dict.fromkeys(people.split(","), "vote")


@pytest.mark.parametrize("people", ["anna,ben,price", "Ana Lima,Ben Ode,Max Page", "ana_l,ben_o,page_p"])
def test_find_vote_columns_measure_like_several_people_is_among_them(people: str) -> None:
    _, tally = table(people, *(f"{vote},{vote[-1]}" for vote in ["1,5", "4,1", "5,4", "2,1", "1,2", "1,4"]))
    assert [*tally.asks()] == people.split(",")


@pytest.mark.parametrize(
    "names",
    [
        "Page Count,Word Count", "Reading Level,Word Count", "num_turns,num_images", "difficulty,level",
        "max_depth,min_depth", "page,chapter", "hops,turns", "Max Length,Min Length", "difficulty,hops",
    ],
)  # fmt: skip
def test_find_vote_columns_small_measures_are_no_votes(names: str) -> None:
    _, tally = table(names, *_FIVES)
    assert not tally.asks()
