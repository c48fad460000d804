"""Test the format `label_studio` on samples of its exports."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.label_studio_config import read_labelling
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Rating, text_digest
from tests.tasks.data.formats.export_reader import (
    EXPORTS,
    comparisons,
    lines,
    pairs,
    ratings,
    read,
    rows,
    sample,
)

XML = (EXPORTS / "label_studio.xml").read_text()
RATED = """<View><Text name="prompt" value="$prompt"/><Text name="answer_left" value="$answer_left"/>
<Rating name="control" toName="answer_left"/></View>"""


def task(result: list[Any] | None, data: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a task of Label Studio with one annotation."""
    annotation = {"id": 1, "completed_by": 7, "result": result or [], "created_at": "2026-03-01T10:00:00Z"}
    told = data or {"prompt": "Who?", "answer_left": "The miller.", "answer_right": "Nobody."}
    return {"id": 5, "data": told, "annotations": [annotation | more]}


def result(kind: str, name: str = "control", on: str = "x", **value: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": on, "type": kind, "value": value}


def counted(*files: SourceFile, **told: Any) -> tuple[list[Any], SkipCounts]:
    """Return the rows of files, and the counts of what was skipped."""
    tally = SkipCounts()
    found = read_rows(find_format("label_studio"), files, ParseOptions("mine", **told), tally)
    return [one.row for one in found], tally


def test_label_studio_pairwise_sides_follow_configuration() -> None:
    found = rows("label_studio", sample("label_studio.json"), labelling=XML)
    assert comparisons(found) == [
        # The configuration puts reply_b left. Ann's later choice counts although it is listed first.
        ("Grain.", "Stones.", "b", "helpfulness", "7"),
        ("Grain.", "Stones.", "a", "helpfulness", "ann@mill.example"),
        # Choices that name answers are comparisons.
        ("Stones.", "Grain.", "b", "truthfulness", "ann@mill.example"),
        # An empty result is a tie, and so is the choice of both.
        ("Near water.", "By the river.", "tie", "helpfulness", "7"),
        ("Near water.", "By the river.", "b", "helpfulness", "ann@mill.example"),
        ("By the river.", "Near water.", "tie", "truthfulness", "ann@mill.example"),
        # A ground-truth item is kept apart from the person's own annotation.
        ("The miller.", "Nobody.", "b", "helpfulness", "9"),
        ("The miller.", "Nobody.", "a", "helpfulness", "ground-truth"),
    ]
    first = found[0]
    assert (first.prompt, first.source, first.time) == (
        "What does a mill grind?", "mine", "2026-03-01T11:00:00.000000Z",
    )  # fmt: skip
    assert {row.group for row in found[:5]} == {text_digest("What does a mill grind?")}


def test_label_studio_ratings_of_one_answer_are_one_row() -> None:
    found = rows("label_studio", sample("label_studio.json"), labelling=XML)
    # The control's name gives the aspect. Cancelled annotations and 0 stars are no ratings.
    assert ratings(found) == [("Grain.", [2.0, 5.0], ["7", "ann@mill.example"], "tone")]
    (rating,) = (row for row in found if isinstance(row, Rating))
    assert rating.times == ["2026-03-01T11:00:00.000000Z", "2026-03-02T10:00:00.000000Z"]


def test_label_studio_written_answer_is_pair() -> None:
    found = rows("label_studio", sample("label_studio.json"), labelling=XML)
    asked = "What does a mill grind?"
    assert sorted(pairs(found)) == [(asked, "Grain"), (asked, "Grain, mostly wheat.")]


def test_label_studio_json_and_json_min_give_same_rows() -> None:
    whole = read("label_studio", sample("label_studio.json"), labelling=XML)
    # JSON_MIN does not mark ground truth, so its sample lacks that task.
    least = rows("label_studio", sample("label_studio_min.json"), labelling=XML)
    assert least == [found.row for found in whole if "task 3" not in found.where]
    assert whole[0].where.startswith("label_studio.json") and whole[0].where.endswith("task 1")


def test_label_studio_configuration_beside_export_is_used() -> None:
    beside = rows("label_studio", sample("label_studio.xml"), sample("label_studio_min.json"))
    assert beside == rows("label_studio", sample("label_studio_min.json"), labelling=XML)
    with pytest.raises(UserError, match="2 labelling configurations; expected one"):
        read("label_studio", sample("label_studio.xml"), sample("label_studio.xml"))


def test_label_studio_sides_without_configuration_need_known_keys() -> None:
    left = lines(task([result("pairwise", selected="left")]))
    assert comparisons(rows("label_studio", left)) == [("The miller.", "Nobody.", "a", "helpfulness", "7")]
    assert comparisons(rows("label_studio", lines(task([]))))[0][2] == "tie"
    data = {"prompt": "Who?", "text1": "The miller.", "text2": "Nobody."}
    unclear = lines(task([result("pairwise", selected="left")], data))
    with pytest.raises(
        UserError,
        match=r"line 1, task 5: unknown which answer is on the left; give the project.s labelling",
    ):
        read("label_studio", unclear)
    with pytest.raises(
        UserError,
        match=r"an empty result is a tie where two are compared; give the project.s labelling",
    ):
        read("label_studio", lines(task([], data)))
    named = rows("label_studio", unclear, columns={"left": "text2", "right": "text1"})
    assert comparisons(named)[0][:3] == ("Nobody.", "The miller.", "a")
    with pytest.raises(UserError, match=r"JSON_MIN does not name the label keys; give the project's"):
        read("label_studio", sample("label_studio_min.json"))


def test_label_studio_latest_annotation_of_person_counts() -> None:
    one = task(
        [result("rating", "truthfulness", "response", rating=5)], {"prompt": "Who?", "response": "Me."}
    )
    later = one["annotations"][0] | {
        "result": [result("rating", "tone", "response", rating=2)], "updated_at": "2026-03-01T12:30:00+02:00",
    }  # fmt: skip
    one["annotations"].insert(0, later)  # 10:30 in UTC: after the other, at 10:00
    assert ratings(rows("label_studio", lines(one))) == [("Me.", [2.0], ["7"], "tone")]


def test_label_studio_unknown_annotators_stay_apart() -> None:
    one = task(
        [result("rating", "stars", "reply", rating=2)], {"prompt": "Who?", "reply": "I."}, completed_by=None
    )
    one["annotations"].append(one["annotations"][0] | {"id": 2})
    assert ratings(rows("label_studio", lines(one)))[0][1:3] == ([2.0, 2.0], ["unknown-1", "unknown-2"])


def test_label_studio_columns_name_aspect_of_control() -> None:
    said = [result("rating", name, "reply", rating=stars) for name, stars in (("quality", 2), ("manners", 4))]
    given = lines(task(said, {"prompt": "Who?", "reply": "I."}))
    with pytest.raises(UserError, match="quality and manners both rate helpfulness; give one"):
        read("label_studio", given)
    found = ratings(rows("label_studio", given, columns={"tone": "manners"}))
    assert [(row[1], row[3]) for row in found] == [([2.0], "helpfulness"), ([4.0], "tone")]


def test_label_studio_ranker_gives_all_pairs() -> None:
    items = [{"id": name, "title": f"model {name}", "body": f"Answer {name}."} for name in "xyz"]
    ranked = task(
        [result("ranker", "rank", "items", ranker={"rank": ["z", "x", "y"]})],
        {"prompt": "Who?", "items": items},
    )
    assert [row[:3] for row in comparisons(rows("label_studio", lines(ranked)))] == [
        ("Answer x.", "Answer y.", "a"), ("Answer x.", "Answer z.", "b"), ("Answer y.", "Answer z.", "b"),
    ]  # fmt: skip
    sorted_ = task(
        [result("ranker", "rank", "items", ranker={"_": ["z"], "good": ["x", "y"]})],
        {"prompt": "Who?", "items": items},
    )
    with pytest.raises(UserError, match="rank sorts into buckets without saying which is better"):
        read("label_studio", lines(sorted_))
    ranked["annotations"][0]["result"][0]["value"]["ranker"]["rank"] = ["z", "w"]
    with pytest.raises(
        UserError, match=r"rank ranks z, w, and the texts by id of the task's list are x, y, z"
    ):
        read("label_studio", lines(ranked))


def test_label_studio_choices_follow_columns() -> None:
    data = {"prompt": "Who?", "answer_1": "The miller.", "answer_2": "Nobody."}
    picked = lines(task([result("choices", "preference", "prompt", choices=["B"])], data))
    columns = {"A": "answer_1", "B": "answer_2"}
    assert comparisons(rows("label_studio", picked, columns=columns))[0][:3] == (
        "The miller.",
        "Nobody.",
        "b",
    )
    found, tally = counted(picked)
    assert not found and tally.asked["preference"].sample == "'B'"
    ((rating,), tally) = counted(picked, columns={"completion": "answer_2"}, fields={"preference": {"B": 3}})
    assert rating.scores == [3.0] and not tally.asked
    good = lines(
        task([result("choices", "verdict", "reply", choices=["Good"])], {"prompt": "Who?", "reply": "I."})
    )
    assert ratings(rows("label_studio", good, columns={"Good": "1"})) == [("I.", [1.0], ["7"], "helpfulness")]


def test_label_studio_earlier_turns_become_history() -> None:
    talk = [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Who are you?"},
    ]  # fmt: skip
    said = task([result("rating", "tone", "reply", rating=3)], {"talk": talk, "reply": "The miller."})
    (row,) = rows("label_studio", lines(said))
    assert row.prompt == "Who are you?" and row.history == talk[:3] and row.group == text_digest("Hello.")


def test_label_studio_rating_on_prompt_rates_answer() -> None:
    sloppy = task(
        [result("rating", "stars", "prompt", rating=3)], {"prompt": "Who?", "response": "The miller."}
    )
    (row,) = rows("label_studio", lines(sloppy))
    assert (row.prompt, row.completion) == ("Who?", "The miller.")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "a"}, r"line 1: keys text are no task of Label Studio's; export as JSON or JSON_MIN"),
        (task(["x"]), r"task 5: a result is an object with from_name, type and value"),
        (task([result("pairwise", selected="middle")]), r"control says 'middle', which is invalid "
            r"for pairwise"),
        (task([result("rating", "stars", "prompt", rating=2)]), r"unknown which of .* stars rates"),
        (task([], created_at="yesterday"), r"task 5: 'yesterday' is not a valid time; expected ISO 8601"),
        (
            task([result("rating", "a", "reply", rating=2), result("rating", "b", "reply", rating=4)],
                 {"prompt": "Who?", "reply": "I."}),
            r"a and b both rate helpfulness; give one",
        ),
        (
            task([result("pairwise", selected="left")], {"one": "a", "left": "b", "right": "c", "two": "d"}),
            r"unknown which of one, left, right, two is the prompt; set it in columns",
        ),
        (task([result("pairwise")]), r"task 5: control says None, which is invalid for pairwise"),
        (task([], {"prompt": "a", "left": 3, "right": "c"}), r"task 5: left is a number; expected a text"),
    ],
)  # fmt: skip
def test_label_studio_invalid_task_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read("label_studio", lines(given))


def test_label_studio_control_missing_in_configuration_is_named() -> None:
    with pytest.raises(
        UserError, match=r"stars is not in the labelling configuration, which has better, tone"
    ):
        read("label_studio", lines(task([result("rating", "stars", rating=2)])), labelling=XML)


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        ("<View><Text name='a'</View>", r"config.xml, line 1: broken XML"),
        (
            '<!DOCTYPE v [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><View>&c;</View>',
            "a DTD is not supported",
        ),
        ('<!DOCTYPE v SYSTEM "file:///etc/hostname"><View/>', "a DTD is not supported"),
        ("", "broken XML"),
    ],
)
def test_read_labelling_entities_and_broken_xml_are_refused(xml: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_labelling(xml, "config.xml")


LEFT, RIGHT = (result("pairwise", selected=side) for side in ("left", "right"))


def test_label_studio_two_exports_newest_annotation_counts() -> None:
    old = lines(task([RIGHT], id=1, updated_at="2026-03-01T10:00:00Z"))
    new = lines(task([LEFT], id=1, updated_at="2026-03-08T10:00:00Z"))
    for files in ((old, new), (new, old)):
        found, tally = counted(*files)
        assert comparisons(found) == [("The miller.", "Nobody.", "a", "helpfulness", "7")]
        assert tally.left_out == {"annotations that a newer one of the same person replaces": 1}


def test_label_studio_person_by_id_or_object_is_one() -> None:
    ana = {"id": 7, "email": "ana@mill.example", "first_name": "Ana"}
    other = {"prompt": "Where?", "answer_left": "Here.", "answer_right": "There."}
    by_number = lines(task([LEFT]), {**task([RIGHT], other), "id": 6})
    by_object = lines(task([LEFT], completed_by=ana, id=2, updated_at="2026-03-02T10:00:00Z"))
    by_text = lines({**task([LEFT], other, completed_by="7.0", id=3), "id": 9})
    found, _ = counted(by_number, by_object, by_text)
    assert {row.annotator for row in found} == {"ana@mill.example"} and len(found) == 3


def test_label_studio_same_annotation_id_in_other_task_is_kept() -> None:
    other = {"prompt": "Where?", "answer_left": "Here.", "answer_right": "There."}
    assert len(counted(lines(task([LEFT])), lines({**task([LEFT], other), "id": 5}))[0]) == 2


def test_label_studio_each_text_of_textarea_is_answer() -> None:
    data = {"prompt": "Name a bird."}
    given = lines(
        task([result("textarea", "answer", "p", text=["A robin.", " ", "A wren.", "An owl."])], data)
    )
    assert [row.completion for row in counted(given)[0]] == ["A robin.", "A wren.", "An owl."]


def test_label_studio_numbers_including_zero_are_scores() -> None:
    data = {"prompt": "Who?", "reply": "I."}
    given = lines(*(task([result("number", "score", "reply", number=n)], data, id=n) for n in (0, 4, -2.5)))
    assert [row.scores for row in counted(given, lines())[0]][-1] == [-2.5]
    texts = "<Text name='p' value='$prompt'/><Text name='r' value='$reply'/>"
    small = f"<View>{texts}<Number name='n' toName='r'/></View>"
    row = {"id": 1, **data, "n": 3, "annotator": 5, "annotation_id": 1, "lead_time": 1.0}
    (rating,), _ = counted(lines(row), labelling=small)
    assert (rating.completion, rating.scores, rating.annotators) == ("I.", [3.0], ["5"])


def test_label_studio_invalid_task_costs_one_row() -> None:
    good, bad = task([LEFT]), {**task([result("pairwise", selected="up")]), "id": 6}
    found, tally = counted(lines(good, bad, {"id": 7}, {**good, "id": 8}))
    assert [bool(row.fault) for row in found] == [False, True, True, False]
    assert tally.faults == 2 and "task 6" in tally.first_fault


def test_label_studio_choice_about_one_answer_is_verdict() -> None:
    data = {"prompt": "Who?", "reply": "I."}
    for word, score in (("Good", 1.0), ("thumbs down", -1.0), ("4 stars", 4.0)):
        given = lines(task([result("choices", "q", "reply", choices=[word])], data))
        assert [row.scores for row in counted(given)[0]] == [[score]]
    found, tally = counted(lines(task([result("choices", "q", "prompt", choices=["Good"])], data)))
    assert not found and list(tally.asked) == ["q"]
    _, tally = counted(
        lines(task([result("choices", "q", "prompt", choices=["Good"])], data)), fields={"q": "ignore"}
    )
    assert not tally.asked and tally.used == {"q"}


@pytest.mark.parametrize("meaning", ["review", "verdict", {"Good": 1, "Bad": -1}])
def test_label_studio_choice_with_a_meaning_is_a_score(meaning: Any) -> None:
    data = {"prompt": "Who?", "reply": "I."}
    for word, score in (("Good", 1.0), ("Bad", -1.0)):
        given = lines(task([result("choices", "q", "reply", choices=[word])], data))
        found, tally = counted(given, fields={"q": meaning})
        assert [row.scores for row in found] == [[score]] and tally.used == {"q"}


@pytest.mark.parametrize(
    ("review", "kept"),
    [
        ({"reviews": [{"accepted": False}]}, 0), ({"reviews": [{"accepted": True}]}, 1),
        ({"reviews": []}, 1), ({"last_action": "rejected"}, 0), ({"state": "REJECTED"}, 0),
        ({"reviews": [{"accepted": False}], "last_action": "fixed_and_accepted"}, 1),
        (
            {"reviews": [{"accepted": False, "created_at": "2026-03-03"},
                         {"accepted": True, "created_at": "2026-03-02"}]}, 0,
        ),
        ({"reviews": [{"accepted": False}, {"accepted": True}]}, 1),
    ],
)  # fmt: skip
def test_label_studio_annotation_rejected_by_reviewer_is_left_out(review: dict[str, Any], kept: int) -> None:
    given = task([result("rating", on="answer_left", rating=4)], **review)
    found, tally = counted(lines(given), labelling=RATED)
    assert len(found) == kept
    assert tally.left_out["annotations that a reviewer rejected"] == 1 - kept


def test_label_studio_rejected_annotation_in_older_export_stays_out() -> None:
    plain = task([result("rating", on="answer_left", rating=4)])
    rejected = task([result("rating", on="answer_left", rating=4)], reviews=[{"accepted": False}])
    for files in ((lines(plain), lines(rejected)), (lines(rejected), lines(plain))):
        found, tally = counted(*files, labelling=RATED)
        assert found == [] and tally.left_out["annotations that a reviewer rejected"] == 1


ISSUES = """<View><Text name="prompt" value="$prompt"/><Text name="answer_left" value="$answer_left"/>
<Choices name="issues" toName="answer_left" choice="multiple"><Choice value="None"/><Choice value="Wrong"/>
<Choice value="Tone"/></Choices></View>"""


@pytest.mark.parametrize(
    ("fields", "scores"),
    [
        ({"None": "accept", "Wrong": "reject", "Tone": "ignore"}, [[1.0], [-1.0], [-1.0]]),
        ({"none": 1, "wrong": -1, "tone": 0}, [[1.0], [-1.0], [-1.0]]),
        ({"None": "accept", "Wrong": "ignore", "Tone": "ignore"}, [[1.0]]),
    ],
)
def test_label_studio_mapping_of_choices_answers_the_question(
    fields: dict[str, Any], scores: list[list[float]]
) -> None:
    data = {"prompt": "Who?", "answer_left": "The miller."}
    picked = (["None"], ["Wrong"], ["Tone", "Wrong"])
    tasks = [
        task([result("choices", "issues", "answer_left", choices=each)], data) | {"id": n}
        for n, each in enumerate(picked)
    ]
    _, tally = counted(lines(*tasks), labelling=ISSUES)
    with pytest.raises(UserError, match=r"issues is 'None' and looks like a verdict.*none: accept"):
        tally.check("mine")
    found, tally = counted(lines(*tasks), labelling=ISSUES, fields={"issues": fields})
    tally.check("mine", {"issues": fields})
    assert [row.scores for row in found] == scores


def test_label_studio_choice_without_meaning_in_fields_is_named() -> None:
    given = task([result("choices", "issues", "answer_left", choices=["None"])])
    _, tally = counted(lines(given), labelling=ISSUES, fields={"issues": "review"})
    tally.check("mine", {"issues": "review"})
    assert "issues is 'None', a value without a meaning in fields; map each value" in tally.first_fault
