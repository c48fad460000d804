"""Test votes of people in a list of objects: which are read, which are asked about, and what is counted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.listed_votes import TWICE
from tasks.data.parsing.reader import read_rows
from tasks.data.parsing.row_verdicts import NO_VOTE
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Comparison, Pair, Rating
from tasks.onboarding.folder_scan import scan_folder
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Bird?", "completion": "A robin."}
SIDES = {"prompt": "Bird?", "a": "A robin.", "b": "A wren."}
CHAT = {"messages": [{"role": "user", "content": "Bird?"}, {"role": "assistant", "content": "A robin."}]}
TASK = {"instruction": "Bird?", "output": "A robin."}


def scores_of(row: Any) -> dict[str, float]:
    assert isinstance(row, Rating)
    return dict(zip(row.annotators, row.scores, strict=True))


@pytest.mark.parametrize("row", [PAIR, CHAT, TASK])
@pytest.mark.parametrize(
    ("name", "votes", "scores"),
    [
        ("ratings", [{"by": "anna", "vote": "good"}, {"by": "ben", "vote": "bad"}], (1, -1)),
        ("annotations", [{"annotator": "anna", "value": 4}, {"annotator": "ben", "value": 2}], (4, 2)),
        ("Bewertungen", [{"who": "anna", "stars": "★★★★"}, {"who": "ben", "stars": "★"}], (4, 1)),
        (
            "votes",
            [{"user": {"name": "anna"}, "thumbs_up": 1}, {"user": {"name": "ben"}, "thumbs_up": 0}],
            (1, -1),
        ),
        ("feedback", [{"rater_id": "anna", "label": True}, {"rater_id": "ben", "label": False}], (1, -1)),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_read_rows_clear_list_is_a_rating_by_its_people(
    row: dict[str, Any], name: str, votes: list[Any], scores: tuple[float, float], as_text: bool
) -> None:
    # A cell of a table holds the list as JSON.
    (found,), tally = read({**row, name: json.dumps(votes) if as_text else votes})
    assert scores_of(found.row) == {"anna": scores[0], "ben": scores[1]} and not found.anonymous
    tally.check("mine")
    assert not tally.unread


@pytest.mark.parametrize(("key", "values"), [("choice", "ab="), ("winner", ("a", "Response B", "tie"))])
@pytest.mark.parametrize("name", ["votes", "judgements", "annotations"])
def test_read_rows_clear_list_beside_two_answers_is_a_comparison_each(
    name: str, key: str, values: Any
) -> None:
    votes = [{"user_id": n, key: value} for n, value in enumerate(values)]
    found, tally = read({**SIDES, name: votes})
    rows = [one.row for one in found]
    assert [(row.annotator, row.choice) for row in rows if isinstance(row, Comparison)] == [
        ("0", "a"), ("1", "b"), ("2", "tie"),
    ]  # fmt: skip
    tally.check("mine")


def test_scan_folder_list_beside_two_answers_of_common_names_is_read(tmp_path: Path) -> None:
    rows = [
        {
            "Frage": f"V {n}?",
            "Antwort A": "Spatz.",
            "Antwort B": "Fink.",
            "votes": [{"by": "eva", "choice": "a"}],
        }
        for n in range(4)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source,) = scan_folder(tmp_path, tmp_path).sources
    assert source.columns == {"prompt": "Frage", "a": "Antwort A", "b": "Antwort B"} and not source.stop
    assert [row.annotator for row in source.rows if isinstance(row, Comparison)] == ["eva"] * 4


@pytest.mark.parametrize(
    ("fields", "scores"),
    [
        ({"marks[].mark": "vote", "marks[].checker": "annotator"}, (2, 5)),
        ({"marks[].mark": "penalty_vote", "marks[].checker": "annotator"}, (-2, -5)),
        ({"marks[].mark": {"2": -1, "5": 1}, "marks[].checker": "annotator"}, (-1, 1)),
    ],
)
def test_read_rows_told_list_is_a_rating_by_its_people(
    fields: dict[str, Any], scores: tuple[float, float]
) -> None:
    row = {**PAIR, "marks": [{"checker": "anna", "mark": 2}, {"checker": "b.d@x.org", "mark": 5}]}
    (found,), tally = read(row, fields=fields)
    assert scores_of(found.row) == {"anna": scores[0], "b.d@x.org": scores[1]}
    tally.check("mine", fields)
    with pytest.raises(UserError, match=re.escape("fields has the key marks[].x, which no row has")):
        tally.check("mine", {**fields, "marks[].x": "ignore"})


def test_read_rows_told_numbers_beside_two_answers_are_choices() -> None:
    fields: dict[str, Any] = {"votes[].vote": {"1": "a", "2": "b"}}
    row = {**SIDES, "votes": [{"by": "anna", "vote": 1}, {"by": "ben", "vote": 2}]}
    found, tally = read(row, format="rows", fields=fields)
    assert [(one.row.annotator, one.row.choice) for one in found if isinstance(one.row, Comparison)] == [
        ("anna", "a"), ("ben", "b"),
    ]  # fmt: skip
    tally.check("mine", fields)
    with pytest.raises(
        UserError, match=re.escape('{"votes[].vote": {"1": ..., "2": ...}, "votes[].by": annot')
    ):
        read(row, row)


def test_read_rows_told_mapping_ignores_and_refuses_values() -> None:
    fields: dict[str, Any] = {"ratings[].mark": {"x": 1, "y": -1, "z": "ignore"}}
    votes = [[{"by": "anna", "mark": "x"}, {"by": "ben", "mark": "z"}], [{"by": "anna", "mark": "w"}]]
    found, tally = read(*({**PAIR, "ratings": one} for one in votes), fields=fields)
    assert scores_of(found[0].row) == {"anna": 1} and tally.left_out[NO_VOTE] == 1
    assert "ratings[].mark is 'w', a value without a meaning in fields" in found[1].row.fault


@pytest.mark.parametrize(
    "more",
    [
        {"ratings": [{"by": "anna", "helpful": 1, "correct": 0}]},
        {"ratings": [{"by": "anna", "vote": "good", "rating": 4}]},
        {"ratings": [{"vote": "good"}, {"vote": "bad"}]},
        {"ratings": [{"by": "anna", "author": "ben", "vote": "good"}]},
        {"votes": [{"by": "anna", "vote": 1}, {"by": "ben", "vote": 2}]},
        {"comments": [{"author": "anna", "score": 12}]},
        {"Bewertungen": [{"Wer": "anna", "Urteil": "gut"}]},
        {"meta": {"ratings": [{"by": "anna", "vote": "good"}]}},
    ],
)
def test_read_rows_unclear_list_is_asked_about(more: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **more})
    with pytest.raises(UserError) as caught:
        tally.check("mine")
    name, objects = next(iter(more.items()))
    assert f"{name}[]." in str(caught.value) or f"{name}.ratings[]." in str(caught.value)
    if isinstance(objects, list):
        assert f"is one person's vote, say so in the source's fields, as in fields: {{\"{name}[]." in str(
            caught.value
        )


@pytest.mark.parametrize(
    "row", [{"text": "A bird."}, {"prompt": "B?", "chosen": "A robin.", "rejected": "A."}]
)
def test_read_rows_list_beside_a_row_without_an_answer_to_rate_is_asked_about(row: dict[str, Any]) -> None:
    _, tally = read({**row, "ratings": [{"by": "anna", "vote": "good"}]})
    with pytest.raises(UserError, match=re.escape("the key ratings[].vote is 'good'")) as caught:
        tally.check("mine")
    assert "one person's vote" not in str(caught.value)


def test_read_rows_list_of_other_things_is_listed_only() -> None:
    (found,), tally = read({**PAIR, "metadata": [{"name": "language", "value": "de"}]})
    assert isinstance(found.row, Pair)
    tally.check("mine")
    assert set(tally.unread) == {"metadata[].name", "metadata[].value"}


@pytest.mark.parametrize(
    "empty", [None, "", [], [None], [{"by": "anna", "vote": None}], [{"by": "anna", "vote": ""}]]
)
def test_read_rows_list_without_a_vote_is_no_right_answer(empty: Any) -> None:
    found, tally = read({**PAIR, "ratings": empty}, {**PAIR, "ratings": [{"by": "ben", "vote": "bad"}]})
    assert [type(one.row) for one in found] == [Rating]
    (reason,) = tally.left_out
    assert reason.startswith("pairs that nobody rated, as ratings has no verdict")
    found, tally = read({**PAIR, "ratings": empty}, fields={"ratings": "ignore"})
    assert [type(one.row) for one in found] == [Pair]


def test_read_rows_other_keys_and_lost_votes_of_a_list_are_counted() -> None:
    rows = [
        {
            **PAIR,
            "ratings": [{"by": "anna", "vote": "good", "comment": "too long"}, {"by": "ben", "vote": vote}],
        }
        for vote in ("good", "bad", "skip", "good", "bad", "meh", "bad", "good")
    ]
    found, tally = read(*rows)
    assert len(found) == 8 and sum(len(scores_of(one.row)) for one in found) == 14
    tally.check("mine")
    assert set(tally.unread) == {"ratings[].comment"}
    lines = list(tally.lines())
    assert any(
        "left out: 1 vote under ratings[].vote; the first: a.jsonl, line 6: 'meh'" in one for one in lines
    )
    assert any("1 vote without a decision" in one for one in lines)


def test_read_rows_list_of_mostly_unknown_words_stops() -> None:
    rows = [{**PAIR, "ratings": [{"by": who, "vote": "meh"}, {"by": "eva", "vote": "good"}]} for who in "xyz"]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=re.escape("3 of its 6 values are none, as 'meh'")):
        tally.check("mine")


def test_read_rows_people_without_a_name_are_several_voters() -> None:
    votes = [{"by": None, "vote": "good"}, {"by": "", "vote": "bad"}, {"by": "anna", "vote": "bad"}]
    (found,), _ = read({**PAIR, "ratings": votes})
    assert scores_of(found.row) == {"unknown-0": 1, "unknown-1": -1, "anna": -1}
    found_all, tally = read({**SIDES, "votes": [{"by": None, "choice": "a"}, {"by": "eva", "choice": "b"}]})
    assert [(one.row.annotator, one.anonymous) for one in found_all if isinstance(one.row, Comparison)] == [
        ("unknown", True), ("eva", False),
    ]  # fmt: skip
    assert tally.nameless == 1


def test_read_rows_person_who_votes_twice_is_counted_once_or_refused() -> None:
    twice = [{"by": "anna", "vote": "good"}, {"by": "anna ", "vote": "good"}]
    (found,), tally = read({**PAIR, "ratings": twice})
    assert scores_of(found.row) == {"anna": 1} and tally.left_out == {TWICE: 1}
    (found,), _ = read({**PAIR, "ratings": [{"by": "anna", "vote": "good"}, {"by": "anna", "vote": "bad"}]})
    assert "anna votes 'good' and also 'bad' under ratings; keep one of them" in found.row.fault


def test_read_rows_list_beside_a_verdict_of_the_row_is_refused() -> None:
    (found,), _ = read({**PAIR, "rating": 4, "ratings": [{"by": "anna", "rating": 5}]})
    assert "rating is a verdict beside the votes of ratings.anna" in found.row.fault


@pytest.mark.parametrize("person", [["anna", "ben"], True, {"team": "x"}])
def test_read_rows_person_of_a_list_that_is_none_is_refused(person: Any) -> None:
    (found,), _ = read({**PAIR, "ratings": [{"by": person, "vote": "good"}]})
    assert (
        "ratings[].by is" in found.row.fault
        and "expected the name or number of one person" in found.row.fault
    )


def test_read_rows_parts_of_a_file_with_lists_add_up() -> None:
    rows = [{**PAIR, "prompt": f"Bird {n}?", "ratings": [{"by": "anna", "vote": "good"}]} for n in range(6)]
    lines = ["".join(json.dumps(row) + "\n" for row in part).encode() for part in (rows[:3], rows[3:])]
    whole, both = SkipCounts(), SkipCounts()
    known, reading = find_format("rows"), ParseOptions("mine")
    together = list(read_rows(known, [SourceFile("a.jsonl", b"".join(lines))], reading, whole))
    parts = []
    for content in lines:
        tally = SkipCounts()
        parts += list(read_rows(known, [SourceFile("a.jsonl", content)], reading, tally))
        both.add(tally)
    assert [one.row for one in parts] == [one.row for one in together]
    assert (both.votes.read, both.used) == (whole.votes.read, whole.used)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Bewertungen", "anna: gut, ben: schlecht"),
        ("bewertungen", "anna: 4; ben: 2"),
        ("votes", [["anna", "good"], ["ben", "bad"]]),
        ("ratings", [["anna", 4], ["ben", 2]]),
        ("Wer sagt was", "anna=good|ben=bad"),
    ],
)
def test_read_rows_votes_with_their_people_in_one_value_are_asked_about(name: str, value: Any) -> None:
    _, tally = read({**PAIR, name: value})
    with pytest.raises(UserError, match="votes with their people in one value, which no format reads; write"):
        tally.check("mine")
    found, tally = read({**PAIR, name: value}, fields={name: "ignore"})
    tally.check("mine", {name: "ignore"})
    assert [type(one.row) for one in found] == [Pair]


@pytest.mark.parametrize(
    "value",
    ["size: 4, depth: 2", "anna: 3 cats, ben: 2 dogs", [["a", 1], ["b", 2]], [["x", "y"]], "10:30, 11:45"],
)
def test_read_rows_named_amounts_are_listed_only(value: Any) -> None:
    _, tally = read({**PAIR, "settings": value})
    tally.check("mine")
    assert set(tally.unread) == {"settings"}


def test_read_rows_object_of_lists_is_a_list_of_votes() -> None:
    (found,), tally = read({**PAIR, "ratings": {"by": ["anna", "ben"], "vote": ["good", "bad"]}})
    assert scores_of(found.row) == {"anna": 1, "ben": -1}
    tally.check("mine")


def test_read_rows_empty_items_of_a_list_are_no_votes() -> None:
    (found,), _ = read({**PAIR, "ratings": [None, {"by": "anna", "vote": "good"}]})
    assert scores_of(found.row) == {"anna": 1}


def test_read_rows_votes_on_several_questions_are_asked_about() -> None:
    votes = [{"by": "anna", "aspect": "tone", "score": 4}, {"by": "anna", "aspect": "facts", "score": 1}]
    _, tally = read({**PAIR, "ratings": votes})
    with pytest.raises(UserError, match=re.escape("ratings[].score")):
        tally.check("mine")


def test_check_other_key_of_a_list_that_is_read_is_no_vote() -> None:
    votes = [{"by": "anna", "vote": "good", "deleted": True}]
    _, tally = read({**PAIR, "ratings": votes})
    with pytest.raises(UserError, match=re.escape("ratings[].deleted is True")) as caught:
        tally.check("mine")
    assert "one person's vote" not in str(caught.value)


@pytest.mark.parametrize("name", ["Mehrheit", "majority"])
def test_propose_column_of_the_majority_is_nobodys_vote(name: str) -> None:
    votes = [("good", "bad"), ("bad", "bad"), ("bad", "good")]
    _, tally = read(*({**PAIR, "anna": anna, "ben": ben, name: "bad"} for anna, ben in votes))
    assert tally.propose_all(tally.asks()) == {"anna": "vote", "ben": "vote", name: "ignore"}


@pytest.mark.parametrize("row", [PAIR, CHAT, TASK])
@pytest.mark.parametrize(
    ("outer", "fields"),
    [
        (
            {
                "meta": {
                    "ratings": [{"by": "anna", "vote": "good"}, {"by": "ben", "vote": "bad"}],
                    "lang": "en",
                }
            },
            {"meta.ratings[].vote": "vote", "meta.ratings[].by": "annotator"},
        ),
        (
            {
                "a": {
                    "b": {
                        "marks": [
                            {"checker": {"id": "anna"}, "mark": "fine"},
                            {"checker": "ben", "mark": "no"},
                        ]
                    }
                }
            },
            {"a.b.marks[].mark": {"fine": 1, "no": -1}, "a.b.marks[].checker": "annotator"},
        ),
        (
            {"qa.x": {"ranks": [{"who": "anna", "place": -1}, {"who": "ben", "place": 1}]}},
            {"qa.x.ranks[].place": "penalty_vote", "qa.x.ranks[].who": "annotator"},
        ),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_read_rows_list_in_an_object_is_read_as_fields_say(
    row: dict[str, Any], outer: dict[str, Any], fields: dict[str, Any], as_text: bool
) -> None:
    given = {key: json.dumps(value) if as_text else value for key, value in outer.items()}
    (found,), tally = read({**row, **given}, fields=fields)
    assert scores_of(found.row) == {"anna": 1, "ben": -1} and not found.anonymous
    tally.check("mine", fields)
    assert set(tally.unread) == ({"meta.lang"} if "meta" in outer else set())


@pytest.mark.parametrize("held", [None, {}, {"ratings": []}, {"ratings": None}])
def test_read_rows_list_in_an_object_may_be_missing(held: Any) -> None:
    fields = {"meta.ratings[].vote": "vote", "meta.ratings[].by": "annotator"}
    voted = {**PAIR, "meta": {"ratings": [{"by": "anna", "vote": "bad"}]}}
    found, tally = read(voted, {**PAIR, "completion": "A wren.", "meta": held}, fields=fields)
    tally.check("mine", fields)
    assert scores_of(found[0].row) == {"anna": -1}
    # An empty list is nobody's vote, and a pair without the list is a normal pair.
    assert [type(one.row) for one in found[1:]] == ([] if held and "ratings" in held else [Pair])


@pytest.mark.parametrize("person", ["by", "rater_id", "Rated by", "user_name"])
@pytest.mark.parametrize("name", ["meta.ratings", "marks", "checks"])
def test_check_list_of_votes_is_proposed_with_the_persons_own_key(name: str, person: str) -> None:
    held: Any = [{person: "anna", "vote": "bad"}, {person: "ben", "vote": "good"}]
    outer, _, inner = name.partition(".")
    row = {**PAIR, outer: {inner: held} if inner else held}
    _, tally = read(row)
    with pytest.raises(UserError) as caught:
        tally.check("mine")
    told = re.search(r"as in fields: (\{.*?\})", str(caught.value))
    assert told
    fields = yaml.safe_load(told[1])
    (found,), tally = read(row, fields=fields)
    tally.check("mine", fields)
    assert scores_of(found.row) == {"anna": -1, "ben": 1}


def test_check_annotator_that_no_object_has_is_named() -> None:
    fields = {"marks[].vote": "vote", "marks[].annotator": "annotator"}
    _, tally = read({**PAIR, "marks": [{"by": "anna", "vote": "bad"}]}, fields=fields)
    with pytest.raises(UserError, match=r"fields has the key marks\[\]\.annotator, which no row has"):
        tally.check("mine", fields)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    ("key", "people"),
    [
        ("choice", [{"anna": "a", "ben": "tie"}, {"anna": "b", "ben": "b"}]),
        ("winner", [{"anna": "Response A", "ben": "="}, {"anna": "B", "ben": "b"}]),
        ("Besser", [{"anna": "A", "ben": "unentschieden"}, {"anna": "B", "ben": "B ist besser"}]),
    ],
)
def test_check_choice_by_people_is_asked_about_and_read_as_proposed(
    key: str, people: list[dict[str, str]], as_text: bool
) -> None:
    rows = [{**SIDES, key: json.dumps(one) if as_text else one} for one in people]
    columns = {} if key == "choice" else {"choice": key}
    found, tally = read(*rows, format="rows", columns=columns)
    assert not any(isinstance(one.row, Comparison) for one in found)
    assert tally.asks_for_choices(None) and "a" not in tally.unread
    with pytest.raises(UserError) as caught:
        tally.check("mine")
    told = re.search(r"as in fields: (\{.*?\})", str(caught.value))
    assert told
    fields = yaml.safe_load(told[1])
    found, tally = read(*rows, format="rows", columns=columns, fields=fields)
    tally.check("mine", fields)
    assert [(one.row.annotator, one.row.choice) for one in found if isinstance(one.row, Comparison)] == [
        ("anna", "a"), ("ben", "tie"), ("anna", "b"), ("ben", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("row", [PAIR, CHAT, TASK])
@pytest.mark.parametrize(
    ("name", "person", "vote", "values"),
    [
        ("opinions", "wer", "note", ("gut", "schlecht")),
        ("opinions", "annotated by", "verdict", ("good", "bad")),
        ("reviews", "qui", "avis_ok", ("oui", "non")),
    ],
)
def test_propose_all_list_with_one_vote_and_person_is_read_as_proposed(
    row: dict[str, Any], name: str, person: str, vote: str, values: tuple[str, str]
) -> None:
    votes = [{person: who, vote: value} for who, value in zip(("anna", "ben"), values, strict=True)]
    rows = [{**row, "id": str(number), name: votes} for number in range(4)]
    _, tally = read(*rows)
    proposed = tally.propose_all(tally.asks())
    assert proposed == {f"{name}[].{vote}": "vote", f"{name}[].{person}": "annotator"}
    with pytest.raises(UserError, match=re.escape(f"[].{vote}")) as told:
        tally.check("mine")
    assert f'"{name}[].{person}": vote' not in str(told.value)
    found, tally = read(*rows, fields=proposed)
    tally.check("mine", proposed)
    assert all(scores_of(one.row) == {"anna": 1, "ben": -1} for one in found) and len(found) == 4


def test_propose_all_list_with_two_verdicts_is_for_a_person_to_say() -> None:
    votes = [{"wer": "anna", "note": "gut", "ton": "schlecht"}, {"wer": "ben", "note": "gut", "ton": "gut"}]
    _, tally = read(*[{**PAIR, "id": str(number), "opinions": votes} for number in range(4)])
    proposed = tally.propose_all(tally.asks())
    assert proposed == {"opinions[].note": "...", "opinions[].ton": "...", "opinions[].wer": "annotator"}
