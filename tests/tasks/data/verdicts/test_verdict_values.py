"""Test verdicts by value, by foreign name, by an empty value, and in one column for each person."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.reader import no_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Pair, Rating
from tasks.data.values.field_meanings import plain_word
from tasks.data.verdicts.verdict_values import short_values
from tests.tasks.data.parsing.row_reader import read, read_file

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
ROWS: list[dict[str, Any]] = [
    PAIR,
    {"instruction": "Name a bird.", "input": "", "output": "A robin."},
    {"messages": [{"role": "user", "content": "A bird?"}, {"role": "assistant", "content": "A robin."}]},
]


@pytest.mark.parametrize("row", [*ROWS, {"text": "Some words."}])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("status", ["needs work", "done", "done"]), ("stand", ["überarbeiten", "fertig", "offen"]),
        ("出来", ["悪い", "普通", "普通"]), ("etat", ["À revoir", "terminé", "terminé"]),
        ("zeichen", ["❌", "✅", "✅"]), ("mark", ["★★", "★★★", "★★"]), ("check", ["Needs review", "", None]),
        ("review", ["bad", "bad", "bad"]), ("notes", [["reject"], ["x"], []]),
        ("итог", ["плохо", "хорошо", "-"]),
    ],
)  # fmt: skip
def test_skip_counts_check_values_like_verdicts_need_meaning(row: Any, key: str, values: list[Any]) -> None:
    _, tally = read(*({**row, key: value} for value in values))
    with pytest.raises(UserError, match=f"the key {key} is .* looks like a verdict; .*fields: "):
        tally.check("mine")
    _, tally = read(*({**row, key: value} for value in values), fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Bewertung", 2), ("qualité", "moyenne"), ("calificación", "3 de 5"), ("оценка", 5), ("评分", 3),
        ("回答の評価", "C"), ("genehmigt", False), ("nota", 7.5), ("note", "4/6"), ("품질점수", 88),
        ("meta.beoordeling", "x"),
    ],
)  # fmt: skip
def test_skip_counts_check_foreign_verdict_name_needs_meaning(key: str, value: Any) -> None:
    outer, _, inner = key.partition(".")
    _, tally = read({**PAIR, outer: {inner: value} if inner else value})
    with pytest.raises(UserError, match=f"the key {key} is .* looks like a verdict"):
        tally.check("mine")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("language", ["no", "en"]), ("position", ["right", "left"]), ("word_class", ["pos", "verb"]),
        ("note", ["see page three", "draft"]), ("has_code", [True, False]), ("direction", ["up", "down"]),
        ("sentiment", ["positive", "negative"]), ("title", [f"good {n}" for n in range(9)]),
        ("topic", ["bad", *(f"topic {n}" for n in range(20))]), ("state", ["open", "closed"]),
        ("kind", ["not bad at all, I would say " * 3]), ("level", [3, 4]),
    ],
)  # fmt: skip
def test_skip_counts_check_other_values_are_only_named(key: str, values: list[Any]) -> None:
    _, tally = read(*({**PAIR, key: value} for value in values))
    tally.check("mine")
    assert tally.unread[key].count == len(values)


def test_skip_counts_asks_order_of_parts_does_not_matter() -> None:
    parts = [read({**PAIR, "state": value})[1] for value in ("open", "bad", "shut")]
    whole, again = SkipCounts(), SkipCounts()
    for part in parts:
        whole.add(part)
    for part in reversed(parts):
        again.add(part)
    assert [*whole.asks()] == [*again.asks()] == ["state"]
    many = [read({**PAIR, "state": f"{n}"})[1] for n in range(30)]
    for part in many:
        whole.add(part)
    assert not whole.asks()


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    ("key", "full", "empty", "score"),
    [
        ("rating", 5, None, 5.0), ("stars", "★★", "", 2.0), ("label", False, None, -1.0),
        ("feedback", "👍", " ", 1.0), ("kto_tag", "true", "nan", 1.0), ("quality", "bad", [], -1.0),
        ("accepted", False, None, -1.0), ("grade", 2, "None", 2.0), ("thumbs", "down", None, -1.0),
    ],
)  # fmt: skip
def test_read_rows_pair_with_empty_rating_is_skipped(
    row: Any, key: str, full: Any, empty: Any, score: float
) -> None:
    (found,), tally = read({**row, key: full}, {**row, key: empty}, {**row, key: empty})
    assert isinstance(found.row, Rating) and found.row.scores == [score]
    assert [*tally.left_out.values()] == [2]
    assert any(f"2 pairs that nobody rated, as {key} has no verdict" in line for line in tally.lines())
    if key != "label":
        every, tally = read({**row, key: full}, {**row, key: empty}, fields={key: "ignore"})
        assert [type(one.row) for one in every] == [Pair, Pair] and not tally.left_out


@pytest.mark.parametrize("empty", [None, "", " ", "nan", "N/A", "<NA>", []])
@pytest.mark.parametrize(("key", "full"), [("score", 3), ("scores", [1, 2])])
def test_read_rows_pair_with_empty_score_is_left_out(key: str, full: Any, empty: Any) -> None:
    rows = [{**PAIR, key: value, "annotator": "ana"} for value in (full, empty, empty)]
    (found,), tally = read(*rows)
    assert isinstance(found.row, Rating) and not tally.faults and not tally.unread
    assert any(f"2 pairs that nobody rated, as {key} has no verdict" in line for line in tally.lines())
    every, tally = read(*rows, fields={key: "ignore"})
    assert [type(one.row) for one in every] == [Pair] * 3 and not tally.left_out


@pytest.mark.parametrize("cells", [["4", ""], ["4 stars", "  "], ["80%", "NaN"]])
def test_read_rows_blank_score_cell_under_another_name_is_left_out(cells: list[str]) -> None:
    lines = [f"Who {n}?,Me.,{cell}" for n, cell in enumerate(cells)]
    file = SourceFile("a.csv", "\n".join(["prompt,completion,points", *lines, ""]).encode())
    (found,), tally = read_file(file, "rows", columns={"score": "points"})
    assert isinstance(found.row, Rating) and not tally.faults and [*tally.left_out.values()] == [1]
    ignored, _ = read_file(file, "rows", columns={"score": "points"}, fields={"points": "ignore"})
    assert [type(one.row) for one in ignored] == [Pair, Pair]


@pytest.mark.parametrize("end", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "blank", ["\u00a0", "\u200b", "\ufeff\u2060", "\u3000 \u200d", "\u2800", "\u3164", "\u202f\u00ad"]
)
@pytest.mark.parametrize("key", ["rating", "score", "stars", "topic"])
def test_read_rows_row_of_invisible_characters_is_empty(key: str, blank: str, end: str) -> None:
    rows = [{**PAIR, key: "4"}, dict.fromkeys([*PAIR, key], blank), {**PAIR, key: blank}]
    if end == "jsonl":
        found, tally = read(*rows)
    else:
        lines = [",".join(row) for row in (rows[0], *(row.values() for row in rows))]
        found, tally = read_file(SourceFile("a.csv", "\n".join([*lines, ""]).encode()))
    unrated = [] if key == "topic" else [f"pairs that nobody rated, as {key} has no verdict"]
    assert tally.left_out.pop("empty rows") == 1 and not tally.faults
    assert [reason.partition(" (")[0] for reason in tally.left_out] == unrated
    assert len(found) == 3 - 1 - len(unrated)


def test_no_rows_unrated_file_says_why() -> None:
    found, tally = read({**PAIR, "rating": None}, {**PAIR, "rating": ""})
    assert not found
    assert "left out: 2 pairs that nobody rated, as rating has no verdict" in no_rows(
        "mine", "a.jsonl", tally
    )


@pytest.mark.parametrize("meaning", ["verdict", {"fine": 1, "meh": -1}, "review"])
def test_read_rows_empty_verdict_named_in_fields_is_skipped(meaning: Any) -> None:
    given = {"verdict": 3, "review": "accept"}.get(meaning, "fine") if isinstance(meaning, str) else "fine"
    found, tally = read({**PAIR, "m": {"q": given}}, {**PAIR, "m": {"q": None}}, fields={"m.q": meaning})
    assert len(found) == 1 and [*tally.left_out.values()] == [1]


def test_read_rows_accepted_answer_without_rating_is_pair() -> None:
    (found,), _ = read({**PAIR, "accepted": True, "rating": None})
    assert isinstance(found.row, Pair)
    (found,), _ = read({**ROWS[2], "answer": ""})
    assert isinstance(found.row, Pair)


WIDE = {
    "words": ("anna,ben,carl", ["chosen,rejected,chosen", "rejected,chosen,"], [[1, -1, 1], [-1, 1]]),
    "stars": ("anna,ben,carl", ["5,4,1", "2,,3"], [[5, 4, 1], [2, 3]]),
    "thumbs": ("rater_1,rater_2", ["👍,👎", "👎,👎"], [[1, -1], [-1, -1]]),
    "numbered": ("annotator1,annotator2", ["4 stars,5 stars", "1 star,"], [[4, 5], [1]]),
    "addresses": ("ana@x.org,ben@x.org", ["good,bad", "bad,bad"], [[1, -1], [-1, -1]]),
    "german": ("Anna,Jörg", ["gut,schlecht", "schlecht,gut"], None),
}


@pytest.mark.parametrize("name", WIDE)
def test_read_rows_vote_columns_per_person_need_vote_meaning(name: str) -> None:
    people, votes, scores = WIDE[name]
    rows = [f"Q{n}?,A{n}.,{vote}" for n, vote in enumerate(votes)]
    file = SourceFile("v.csv", "\n".join([f"prompt,completion,{people}", *rows, ""]).encode())
    _, tally = read_file(file)
    first, *_ = people.split(",")
    with pytest.raises(UserError, match=rf"the columns {first}, .* one per person .*{first}\"?: vote"):
        tally.check("mine")
    if scores is None:
        told: Any = {person: {"gut": 1, "schlecht": -1} for person in people.split(",")}
        return
    told = dict.fromkeys(people.split(","), "vote")
    found, tally = read_file(file, fields=told)
    tally.check("mine", told)
    assert [one.row.scores for one in found] == scores  # type: ignore[union-attr]
    assert found[0].row.annotators == people.split(",")  # type: ignore[union-attr]


def test_read_rows_row_without_votes_is_skipped_extra_verdict_is_fault() -> None:
    told = {"anna": "vote", "ben": "vote"}
    found, tally = read({**PAIR, "anna": "", "ben": None}, {**PAIR, "anna": 1, "ben": 2}, fields=told)
    assert len(found) == 1 and [*tally.left_out.values()] == [1]
    found, _ = read({**PAIR, "anna": 1, "ben": 2, "rating": 3}, {**PAIR, "anna": 1}, fields=told)
    assert "rating is a verdict beside the votes of anna, ben" in found[0].row.fault


@pytest.mark.parametrize(
    "row",
    [
        {"turns": 2, "level": 3, "page": 1}, {"side": "left", "direction": "up"},
        {"has_code": 1, "is_long": 0},
        {"source": "web", "topic": "birds", "lang": "no"}, {"x": 1, "y": 2, "z": 3},
    ],
)  # fmt: skip
def test_skip_counts_check_columns_that_are_no_votes_pass(row: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **row}, {**PAIR, **row})
    tally.check("mine")


@pytest.mark.parametrize(
    ("header", "row", "unread"),
    [
        (",prompt,completion", "0,Who?,I.", {"(column 1 without a name)": 1}),
        ("prompt,completion,,", "Who?,I.,,", {}),
        (
            "prompt,,completion,",
            "Who?,x,I.,y",
            {"(column 2 without a name)": 1, "(column 4 without a name)": 1},
        ),
    ],
)
def test_read_rows_unnamed_columns_are_counted(header: str, row: str, unread: dict[str, int]) -> None:
    (found,), tally = read_file(SourceFile("a.csv", f"{header}\n{row}\n".encode()))
    assert isinstance(found.row, Pair) and (found.row.prompt, found.row.completion) == ("Who?", "I.")
    assert {name: seen.count for name, seen in tally.unread.items()} == unread


def test_read_rows_verdict_in_unnamed_column_needs_meaning() -> None:
    file = SourceFile("a.csv", b"prompt,completion,\nWho?,I.,bad\nWhat?,It.,good\n")
    _, tally = read_file(file)
    with pytest.raises(UserError, match=r"the key \(column 3 without a name\) is 'bad' and looks like"):
        tally.check("mine")
    found, tally = read_file(file, fields={"(column 3 without a name)": "verdict"})
    assert [one.row.scores for one in found] == [[-1.0], [1.0]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        ('{"rating": 2}', "meta.rating"), ("{'review': {'quality': 'bad'}}", "meta.review.quality"),
        ('[{"verdict": "no"}]', "meta[].verdict"), ('{"state": "rejected", "page": 3}', "meta.state"),
    ],
)  # fmt: skip
def test_skip_counts_asks_verdict_in_object_cell_is_found(cell: str, path: str) -> None:
    _, tally = read({**PAIR, "meta": cell})
    assert [*tally.asks()] == [path]


def test_read_rows_verdict_in_object_cell_follows_fields() -> None:
    rows = [{**PAIR, "meta": json.dumps({"rating": score})} for score in (2, 5)]
    found, tally = read(*rows, fields={"meta.rating": "verdict"})
    tally.check("mine", {"meta.rating": "verdict"})
    assert [one.row.scores for one in found] == [[2.0], [5.0]]  # type: ignore[union-attr]
    (one,), tally = read({**PAIR, "meta": "{not an object}", "code": "[1, 2]", "empty": "{}"})
    assert isinstance(one.row, Pair) and not tally.asks()


@pytest.mark.parametrize("row", [*ROWS, {"text": "Some words."}])
@pytest.mark.parametrize("values", [["0", "2", "42"], ["no", "yes", "no"], [False, True, True], [1, 0, 7]])
def test_read_rows_flags_as_final_answers_are_no_reviews(row: Any, values: list[Any]) -> None:
    rows = [{**row, "answer": value} for value in values]
    found, tally = read(*rows)
    assert len(found) == 3 and not any(isinstance(one.row, Rating) for one in found)
    with pytest.raises(UserError, match=r"the key answer is .* looks like a verdict"):
        tally.check("mine")
    found, tally = read(*rows, fields={"answer": "ignore"})
    tally.check("mine", {"answer": "ignore"})
    assert len(found) == 3


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (":thumbsdown:", "thumbsdown"), (":+1:", "+1"), (":-1::skin-tone-2:", "-1"), ("-1", "-1"),
        (" +2.5 ", "+2.5"), ("good\u200b", "good"), ("\u200fBad.", "bad"), ("a -1 b", "a_1_b"),
    ],
)  # fmt: skip
def test_plain_word_keeps_signs_and_drops_invisible_marks(value: str, word: str) -> None:
    assert plain_word(value) == word


@pytest.mark.parametrize(
    ("value", "score"), [(":thumbsdown:", -1.0), (":+1:", 1.0), ("-1", -1.0), ("\ufeffbad", -1.0)]
)
def test_read_rows_vote_of_chat_program_is_rating(value: str, score: float) -> None:
    (found,), tally = read({**PAIR, "vote": value})
    assert isinstance(found.row, Rating) and found.row.scores == [score]
    tally.check("mine")


def test_skip_counts_check_proposes_opposite_meanings_for_opposite_numbers() -> None:
    _, tally = read(*({**PAIR, "state": value} for value in ("-1", "+1", "trash")))
    with pytest.raises(UserError, match=r'\{"\+1": accept, "-1": reject, trash: ignore\}'):
        tally.check("mine")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("הערכה", 2), ("xyz", "גרוע"), ("ارزیابی", "بد"), ("xyz", "κακή"), ("laatu", 3), ("xyz", "huono"),
        ("értékelés", "rossz"), ("xyz", "respins"), ("คะแนน", 4), ("xyz", "แย่"), ("xyz", "погано"),
        ("xyz", "loše"),
        ("xyz", "ভুল"), ("xyz", "చెడు"), ("hinnang", 1), ("xyz", "content_filter"),
    ],
)  # fmt: skip
def test_skip_counts_check_verdict_in_more_languages_is_asked(key: str, value: Any) -> None:
    _, tally = read({**PAIR, key: value})
    with pytest.raises(UserError, match="looks like a verdict"):
        tally.check("mine")


@pytest.mark.parametrize(
    "row",
    [
        {"reactions": [{"name": "-1", "count": 2, "users": ["U1"]}]},
        {"notes": [{"state": "rejected", "by": "ana"}]},
        {"meta": {"history": [{"quality": "bad"}]}},
    ],
)
def test_skip_counts_check_verdict_inside_list_takes_ignore_alone(row: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **row})
    with pytest.raises(UserError, match=r"looks like a verdict in a list.*\[\]\.\w+\": ignore\}") as told:
        tally.check("mine")
    asked = list(tally.asks())
    assert "which no format reads" in str(told.value)
    fields: dict[str, Any] = dict.fromkeys(asked, "review")
    _, tally = read({**PAIR, **row}, fields=fields)
    with pytest.raises(UserError, match="it is in a list, which no format reads; expected ignore"):
        tally.check("mine", fields)
    fields = dict.fromkeys(asked, "ignore")
    found, tally = read({**PAIR, **row}, fields=fields)
    tally.check("mine", fields)
    assert [type(one.row) for one in found] == [Pair]


@pytest.mark.parametrize(
    "people, votes",
    [
        ("rater1,rater2,rater3", ["1,5,4", "1,5,"]),
        ("annotator_1,annotator_2", ["0,3", "1,4"]),
        ("rating_ana,rating_ben,rating_eva", ["1,5,4", "1,4,2"]),
    ],
)
def test_read_rows_every_column_of_family_is_asked_about(people: str, votes: list[str]) -> None:
    rows = [f"Q{n}?,A{n}.,{vote}" for n, vote in enumerate(votes)]
    file = SourceFile("v.csv", "\n".join([f"prompt,completion,{people}", *rows, ""]).encode())
    names = people.split(",")
    _, tally = read_file(file)
    with pytest.raises(UserError, match="one per person") as error:
        tally.check("mine")
    assert all(f"{name}: vote" in str(error.value) for name in names)
    told = dict.fromkeys(names[1:], "vote")
    _, tally = read_file(file, fields=told)
    with pytest.raises(UserError, match=rf"the column {names[0]} looks like one per person"):
        tally.check("mine", told)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("How satisfied are you?", ["Very dissatisfied", "Neutral", "Satisfied"]),
        ("Q1", ["Strongly disagree", "Neither agree nor disagree", "Agree"]),
        ("Umfrage", ["sehr zufrieden", "eher unzufrieden", "zufrieden"]),
        ("Frage 2", ["trifft zu", "trifft nicht zu", "weiß nicht"]),
        ("enquête", ["plutôt d'accord", "pas d'accord", "sans avis"]),
        ("encuesta", ["muy satisfecho", "insatisfecho", "normal"]),
        ("assessment", ["mostly correct", "fully correct", "other"]),
        ("level", ["5 - very good", "1 - very poor", "3 - fair"]),
        ("finding", ["inaccurate", "complete", "complete"]),
        ("final form", ["complete", "incomplete", "complete"]),
        ("Would you recommend it?", ["yes", "no", "yes"]),
    ],
)
def test_skip_counts_check_answer_of_a_survey_needs_meaning(row: Any, key: str, values: list[str]) -> None:
    _, tally = read(*({**row, key: value} for value in values))
    with pytest.raises(UserError, match=r"looks like a verdict; .*fields: "):
        tally.check("mine")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("difficulty", ["very easy", "easy", "very hard"]), ("mood", ["happy", "sad", "very happy"]),
        ("style", ["formal", "informal", "formal"]), ("speech", ["direct", "indirect", "direct"]),
        ("size", ["very large", "small", "so so small"]), ("kind", ["organic", "inorganic", "other"]),
    ],
)  # fmt: skip
def test_skip_counts_check_degree_of_another_thing_is_no_verdict(key: str, values: list[str]) -> None:
    _, tally = read(*({**PAIR, key: value} for value in values))
    tally.check("mine")


@pytest.mark.parametrize(
    ("value", "short"),
    [
        (date(2026, 3, 1), ["2026_03_01"]), (datetime(2026, 3, 1, 8), ["2026_03_01t08:00:00"]),
        ("[ ]", ["[_]"]), ("[]", []), ("[x]", ["[x]"]),
    ],
)  # fmt: skip
def test_short_values_date_and_empty_box_are_values(value: object, short: list[str]) -> None:
    assert list(short_values(value)) == short
