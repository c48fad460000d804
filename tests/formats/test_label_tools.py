"""What labelling tools export, read from samples with their traps and from a real MLflow store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.formats import File, Found, Reading, Sample, find_format
from tasks.formats.files import Item
from tasks.formats.labelling import read_labelling
from tasks.records import Comparison, Pair, Rating, Record, digest

EXPORTS = Path(__file__).parent.parent / "exports"
XML = (EXPORTS / "label_studio.xml").read_text()
ANN, BOB, EVE = (f"00000000-0000-0000-0000-{number:012d}" for number in (1, 2, 3))


def sample(name: str) -> File:
    return File(name, path=EXPORTS / name)


def lines(*rows: Any) -> File:
    return File("given.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


def read(name: str, *files: File, **told: Any) -> list[Found]:
    return list(find_format(name).parse(files, Reading(source="mine", **told)))


def rows(name: str, *files: File, **told: Any) -> list[Any]:
    return [found.row for found in read(name, *files, **told)]


def comparisons(found: list[Any]) -> list[tuple[str, ...]]:
    return [
        (row.a, row.b, row.choice, row.aspect, row.annotator) for row in found if isinstance(row, Comparison)
    ]


def ratings(found: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (row.completion, row.scores, row.annotators, row.aspect) for row in found if isinstance(row, Rating)
    ]


def pairs(found: list[Any]) -> list[tuple[str, str]]:
    return [(row.prompt, row.completion) for row in found if isinstance(row, Pair)]


# Label Studio


def task(result: list[Any] | None, data: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A task of Label Studio's with one annotation."""
    annotation = {"id": 1, "completed_by": 7, "result": result or [], "created_at": "2026-03-01T10:00:00Z"}
    told = data or {"prompt": "Who?", "answer_left": "The miller.", "answer_right": "Nobody."}
    return {"id": 5, "data": told, "annotations": [annotation | more]}


def result(kind: str, name: str = "control", on: str = "x", **value: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": on, "type": kind, "value": value}


def test_pairwise_choices_follow_the_labelling_configuration() -> None:
    found = rows("label_studio", sample("label_studio.json"), labelling=XML)
    assert comparisons(found) == [
        # Left is reply_b, as the configuration has it; ann's later choice counts, though listed first.
        ("Grain.", "Stones.", "b", "helpfulness", "7"),
        ("Grain.", "Stones.", "a", "helpfulness", "ann@mill.example"),
        # Choices that name answers compare them.
        ("Stones.", "Grain.", "b", "truthfulness", "ann@mill.example"),
        # An empty result is a tie, and so is the choice of both.
        ("Near water.", "By the river.", "tie", "helpfulness", "7"),
        ("Near water.", "By the river.", "b", "helpfulness", "ann@mill.example"),
        ("By the river.", "Near water.", "tie", "truthfulness", "ann@mill.example"),
        # A known item is kept apart from what the same person said otherwise.
        ("The miller.", "Nobody.", "b", "helpfulness", "9"),
        ("The miller.", "Nobody.", "a", "helpfulness", "ground-truth"),
    ]
    first = found[0]
    assert (first.prompt, first.source, first.time) == (
        "What does a mill grind?", "mine", "2026-03-01T11:00:00.000000Z",
    )  # fmt: skip
    assert {row.group for row in found[:5]} == {digest("What does a mill grind?")}


def test_ratings_of_an_answer_are_one_row_and_nought_is_none() -> None:
    found = rows("label_studio", sample("label_studio.json"), labelling=XML)
    # The aspect is in the control's name; who cancelled does not count; 0 stars are no rating.
    assert ratings(found) == [("Grain.", [2.0, 5.0], ["7", "ann@mill.example"], "tone")]
    (rating,) = (row for row in found if isinstance(row, Rating))
    assert rating.times == ["2026-03-01T11:00:00.000000Z", "2026-03-02T10:00:00.000000Z"]


def test_what_a_person_wrote_is_a_pair_and_a_reason_is_not() -> None:
    found = rows("label_studio", sample("label_studio.json"), labelling=XML)
    assert pairs(found) == [("What does a mill grind?", "Grain, mostly wheat.")]


def test_both_exports_of_a_project_give_the_same_rows() -> None:
    whole = read("label_studio", sample("label_studio.json"), labelling=XML)
    # JSON_MIN does not mark what is known, so the sample of it is without that task.
    least = rows("label_studio", sample("label_studio_min.json"), labelling=XML)
    assert least == [found.row for found in whole if "task 3" not in found.where]
    assert whole[0].where.startswith("label_studio.json") and whole[0].where.endswith("task 1")


def test_the_configuration_is_found_beside_the_export() -> None:
    beside = rows("label_studio", sample("label_studio.xml"), sample("label_studio_min.json"))
    assert beside == rows("label_studio", sample("label_studio_min.json"), labelling=XML)
    with pytest.raises(UserError, match="2 labelling configurations; one is right"):
        read("label_studio", sample("label_studio.xml"), sample("label_studio.xml"))


def test_without_a_configuration_sides_are_told_by_keys_or_columns_or_not_at_all() -> None:
    left = lines(task([result("pairwise", selected="left")]))
    assert comparisons(rows("label_studio", left)) == [("The miller.", "Nobody.", "a", "helpfulness", "7")]
    assert comparisons(rows("label_studio", lines(task([]))))[0][2] == "tie"
    data = {"prompt": "Who?", "text1": "The miller.", "text2": "Nobody."}
    unclear = lines(task([result("pairwise", selected="left")], data))
    with pytest.raises(UserError, match=r"line 1, task 5: which answer stands left is not known; give the"):
        read("label_studio", unclear)
    with pytest.raises(UserError, match=r"an empty result is a tie where two are compared; give the"):
        read("label_studio", lines(task([], data)))
    named = rows("label_studio", unclear, columns={"left": "text2", "right": "text1"})
    assert comparisons(named)[0][:3] == ("Nobody.", "The miller.", "a")
    with pytest.raises(UserError, match=r"JSON_MIN does not say which keys are labels; give the project's"):
        read("label_studio", sample("label_studio_min.json"))


def test_of_several_annotations_by_one_person_the_last_counts_as_a_whole() -> None:
    one = task(
        [result("rating", "truthfulness", "response", rating=5)], {"prompt": "Who?", "response": "Me."}
    )
    later = one["annotations"][0] | {
        "result": [result("rating", "tone", "response", rating=2)], "updated_at": "2026-03-01T12:30:00+02:00",
    }  # fmt: skip
    one["annotations"].insert(0, later)  # 10:30 in UTC: after the other, at 10:00
    assert ratings(rows("label_studio", lines(one))) == [("Me.", [2.0], ["7"], "tone")]


def test_unknown_people_are_not_taken_for_one() -> None:
    one = task(
        [result("rating", "stars", "reply", rating=2)], {"prompt": "Who?", "reply": "I."}, completed_by=None
    )
    one["annotations"].append(one["annotations"][0] | {"id": 2})
    assert ratings(rows("label_studio", lines(one)))[0][1:3] == ([2.0, 2.0], ["unknown-1", "unknown-2"])


def test_columns_say_what_a_control_speaks_of() -> None:
    said = [result("rating", name, "reply", rating=stars) for name, stars in (("quality", 2), ("manners", 4))]
    given = lines(task(said, {"prompt": "Who?", "reply": "I."}))
    with pytest.raises(
        UserError, match="quality and manners both speak of helpfulness; say in columns what one"
    ):
        read("label_studio", given)
    found = ratings(rows("label_studio", given, columns={"tone": "manners"}))
    assert [(row[1], row[3]) for row in found] == [([2.0], "helpfulness"), ([4.0], "tone")]


def test_a_ranker_gives_all_pairs_side_by_side_as_listed() -> None:
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
    with pytest.raises(UserError, match="rank sorts into buckets, and none is said to be the better one"):
        read("label_studio", lines(sorted_))
    ranked["annotations"][0]["result"][0]["value"]["ranker"]["rank"] = ["z", "w"]
    with pytest.raises(
        UserError, match=r"rank ranks z, w, and the texts by id of the task's list are x, y, z"
    ):
        read("label_studio", lines(ranked))


def test_choices_are_what_columns_say_they_stand_for() -> None:
    data = {"prompt": "Who?", "answer_1": "The miller.", "answer_2": "Nobody."}
    picked = lines(task([result("choices", "preference", "prompt", choices=["B"])], data))
    columns = {"A": "answer_1", "B": "answer_2"}
    assert comparisons(rows("label_studio", picked, columns=columns))[0][:3] == (
        "The miller.",
        "Nobody.",
        "b",
    )
    with pytest.raises(UserError, match=r"the choice \['B'\] of preference names no answer and is no number"):
        read("label_studio", picked)
    good = lines(
        task([result("choices", "verdict", "reply", choices=["Good"])], {"prompt": "Who?", "reply": "I."})
    )
    assert ratings(rows("label_studio", good, columns={"Good": "1"})) == [("I.", [1.0], ["7"], "helpfulness")]


def test_a_conversation_before_the_answer_is_its_history() -> None:
    talk = [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Who are you?"},
    ]  # fmt: skip
    said = task([result("rating", "tone", "reply", rating=3)], {"talk": talk, "reply": "The miller."})
    (row,) = rows("label_studio", lines(said))
    assert row.prompt == "Who are you?" and row.history == talk[:3] and row.group == digest("Hello.")


def test_a_control_on_the_prompt_rates_the_answer() -> None:
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
        (task([result("pairwise", selected="middle")]), r"control says 'middle', which no pairwise does"),
        (task([result("rating", "stars", "prompt", rating=2)]), r"which of .* stars is about is not known"),
        (task([], created_at="yesterday"), r"task 5: 'yesterday' is no time; ISO 8601 is right"),
        (
            task([result("rating", "a", "reply", rating=2), result("rating", "b", "reply", rating=4)],
                 {"prompt": "Who?", "reply": "I."}),
            r"a and b both speak of helpfulness; say in columns",
        ),
        (
            task([result("pairwise", selected="left")], {"one": "a", "left": "b", "right": "c", "two": "d"}),
            r"which of one, left, right, two holds the prompt is not known; say so in columns",
        ),
        (task([result("pairwise")]), r"task 5: control says None, which no pairwise does"),
        (task([], {"prompt": "a", "left": 3, "right": "c"}), r"task 5: left is int; a text is right"),
    ],
)  # fmt: skip
def test_what_label_studio_does_not_write_is_named_with_its_task(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read("label_studio", lines(given))


def test_a_control_that_the_configuration_lacks_is_named() -> None:
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
            "needs no DTD, and none is read",
        ),
        ('<!DOCTYPE v SYSTEM "file:///etc/hostname"><View/>', "needs no DTD, and none is read"),
        ("", "broken XML"),
    ],
)
def test_a_configuration_is_read_without_entities(xml: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_labelling(xml, "config.xml")


# Argilla


def test_of_argilla_2_what_is_submitted_counts() -> None:
    columns = {"completion": "rewrite"}
    found = rows("argilla", sample("argilla.jsonl"), columns=columns)
    assert comparisons(found) == [
        ("Stones.", "Grain.", "b", "helpfulness", ANN),
        ("By the river.", "Near water.", "tie", "helpfulness", ANN),
    ]
    # Bob discarded; Eve's tone is submitted though her choice is a draft. The suggestion is a model's.
    assert ratings(found) == [("Stones.", [2.0, 4.0], [ANN, EVE], "tone")]
    assert pairs(found) == [("What does a mill grind?", "Mostly wheat.")]


def question(name: str, kind: str, *options: Any) -> dict[str, Any]:
    return {"name": name, "settings": {"type": kind, "options": [{"value": option} for option in options]}}


SETTINGS = json.dumps(
    {
        "questions": [
            question("better", "label_selection", "response_1", "response_2", "tie"),
            question("response_1_tone", "rating", 1, 2, 3, 4, 5),
            {"name": "rewrite", "settings": {"type": "text", "use_markdown": False}},
            {"name": "comment", "settings": {"type": "text"}},
        ],
        "fields": [
            {"name": name, "settings": {"type": "text"}}
            for name in ("instruction", "response_1", "response_2")
        ],
    }
)


def test_the_settings_say_of_what_type_a_question_is() -> None:
    told = rows("argilla", sample("argilla.jsonl"), columns={"completion": "rewrite"})
    assert rows("argilla", sample("argilla.jsonl"), labelling=SETTINGS) == told
    beside = File("export/.argilla/settings.json", SETTINGS.encode())
    assert rows("argilla", beside, sample("argilla.jsonl")) == told
    with pytest.raises(
        UserError, match=r"record r1: whether rewrite takes texts, labels or rankings is not said"
    ):
        read("argilla", sample("argilla.jsonl"))
    with pytest.raises(UserError, match="source mine, labelling: no settings of Argilla's"):
        read("argilla", sample("argilla.jsonl"), labelling='{"questions": [1]}')


def test_an_export_that_hides_what_was_discarded_is_refused() -> None:
    with pytest.raises(UserError, match=r"to better was submitted or discarded is not said .*to_datasets"):
        read("argilla", sample("argilla_nested.json"))


HUGE = {
    "prompt": "Who?",
    "response_1": "I.",
    "response_1_tone.responses": [10**400],
    "response_1_tone.responses.users": ["ann"],
    "response_1_tone.responses.status": ["submitted"],
}


def flat(value: Any, **more: Any) -> File:
    record = {
        "id": "r1", "prompt": "Who?", "response_1": "I.", "response_2": "You.", "q.responses": [value],
        "q.responses.users": ["ann"], "q.responses.status": ["submitted"],
    }  # fmt: skip
    return lines({key: kept for key, kept in (record | more).items() if kept != "absent"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lines({"text": "a"}), r"line 1: keys text are no record of Argilla's; export with"),
        (
            flat("response_1", **{"q.responses.status": "absent"}),
            r"q.responses.status are no lists of one length",
        ),
        (flat("response_1", **{"q.responses.users": ["ann", "bob"]}), r"are no lists of one length"),
        (flat("response_1", **{"q.responses.status": [None]}), r"a response to q has the status None"),
        (
            flat([{"value": "response_9", "rank": 1}]),
            r"q ranks 'response_9', which is none of prompt, response_1",
        ),
        (
            flat([{"value": "response_1", "rank": None}]),
            r"q ranks response_1 as None; a whole number is right",
        ),
        (flat(["response_1", "response_2"]), r"whether q takes texts, labels or rankings is not said"),
        (flat({"a": 1}), r"record r1: q says \{'a': 1\}, which no question of Argilla's does"),
        (flat(3), r"which of prompt, response_1, response_2 q is about is not known; say so in columns"),
        (lines(HUGE), r"response_1_tone says 10{39}; a finite number is right"),
        (
            lines({"fields": {"prompt": "a"}, "responses": ["x"]}),
            r"a response is an object with user_id, status",
        ),
    ],
)
def test_what_argilla_does_not_write_is_named_with_its_record(given: File, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read("argilla", given)


def test_a_ranking_without_ranks_is_refused() -> None:
    # The interface saves a ranking in the order of its options, and Argilla 2's rows leave the ranks out.
    settings = {"questions": [{"name": "q", "settings": {"type": "ranking"}}]}
    with pytest.raises(UserError, match=r"q gives a ranking without its ranks, .* the server's API"):
        read("argilla", flat(["response_1", "response_2"]), labelling=json.dumps(settings))


def test_equal_ranks_of_argilla_1_are_ties() -> None:
    found = rows("argilla", sample("argilla_1.jsonl"), columns={"completion": "corrected"})
    assert [row[:3] for row in comparisons(found)] == [
        ("Wheat.", "Sand.", "a"), ("Wheat.", "Rye.", "tie"), ("Sand.", "Rye.", "b"),
        ("The Rhine.", "The Alps.", "a"), ("The Rhine.", "A lake.", "a"), ("The Alps.", "A lake.", "tie"),
    ]  # fmt: skip
    assert {row[4] for row in comparisons(found)} == {ANN}
    assert ratings(found) == [("Wheat.", [5.0, 4.0], [ANN, BOB], "truthfulness")]
    assert pairs(found) == [("Name a grain.", "Wheat, for one.")]


def test_the_servers_records_have_ranks_and_times() -> None:
    (row,) = rows("argilla", sample("argilla_server.jsonl"))
    assert (row.a, row.b, row.choice, row.annotator) == ("Sand.", "Wheat.", "b", ANN)
    assert row.time == "2026-03-02T10:00:00"


# MLflow


def trace(*assessments: dict[str, Any], inputs: Any = "Who?", outputs: Any = "The miller.") -> dict[str, Any]:
    attributes = {"mlflow.spanInputs": json.dumps(inputs), "mlflow.spanOutputs": json.dumps(outputs)}
    span = {"span_id": "KJ/dPraLyYY=", "parent_span_id": None, "attributes": attributes}
    return {"info": {"trace_id": "tr-1", "assessments": list(assessments)}, "data": {"spans": [span]}}


def assessment(value: Any, name: str = "helpfulness", by: str = "ann", **more: Any) -> dict[str, Any]:
    given = {
        "assessment_name": name,
        "source": {"source_type": "HUMAN", "source_id": by},
        "feedback": {"value": value},
        "create_time": "2026-03-01T10:00:00Z",
        "last_update_time": "2026-03-01T10:00:00Z",
        "valid": True,
    }
    return given | more


def test_a_real_stores_traces_give_what_people_said(tmp_path: Path) -> None:
    import mlflow
    from mlflow.entities import AssessmentSource

    def source(person: str, kind: str = "HUMAN") -> AssessmentSource:
        return AssessmentSource(kind, person)

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    try:
        experiment = mlflow.create_experiment("labels", artifact_location=(tmp_path / "artifacts").as_uri())
        asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
        span = mlflow.start_span_no_context(
            "answer", inputs={"messages": asked}, experiment_id=experiment
        )  # an active experiment would outlive this test
        span.end(outputs={"choices": [{"message": {"role": "assistant", "content": "The miller."}}]})
        number = span.trace_id
        mlflow.flush_trace_async_logging()

        def say(value: Any, by: AssessmentSource, name: str = "truthfulness") -> Any:
            return mlflow.log_feedback(trace_id=number, name=name, value=value, source=by)

        say(False, source("bob"))
        first = say(2, source("ann"))
        mlflow.override_feedback(
            trace_id=number, assessment_id=first.assessment_id, value=5, source=source("ann")
        )
        say(1, source("judge", "LLM_JUDGE"))
        say(1, source("check.py", "CODE"))
        say("too short", source("ann"), "remark")
        mlflow.log_expectation(
            trace_id=number, name="expected_response", value="The miller runs it.", source=source("ann")
        )
        (found,) = mlflow.search_traces(locations=[experiment], return_type="list")
        table = mlflow.search_traces(locations=[experiment]).to_json(orient="records", lines=True)
    finally:
        mlflow.set_tracking_uri(before)

    read_back = rows("mlflow_feedback", File("traces.jsonl", found.to_json().encode()))
    assert ratings(read_back) == [("The miller.", [5.0, 0.0], ["ann", "bob"], "truthfulness")]
    assert pairs(read_back) == [("Who?", "The miller runs it.")]
    (rating,) = (row for row in read_back if isinstance(row, Rating))
    assert rating.history == [{"role": "system", "content": "Be brief."}]
    assert all(time.endswith("Z") for time in rating.times) and len(rating.times) == 2
    assert rows("mlflow_feedback", File("table.jsonl", table.encode())) == read_back


def test_what_is_said_of_a_trace_is_a_rating_or_a_preference() -> None:
    given = lines(
        trace(assessment("yes"), assessment(0.5, by="bob"), inputs={"question": "Who?", "top_k": 3}),
        trace(
            assessment({"preference": "B"}, span_id="289fdd3eb68bc986"), assessment("tie", by="bob"),
            outputs={"a": "The miller.", "b": "Nobody."},
        ),
        trace(assessment(3, span_id="0000000000000001")),  # said of a part of the trace
        trace(assessment(3), outputs=None),  # nothing was answered
        trace(),
    )  # fmt: skip
    found = rows("mlflow_feedback", given)
    assert ratings(found) == [("The miller.", [1.0, 0.5], ["ann", "bob"], "helpfulness")]
    assert [row[2:] for row in comparisons(found)] == [
        ("b", "helpfulness", "ann"), ("tie", "helpfulness", "bob"),
    ]  # fmt: skip


def test_of_one_persons_assessments_of_a_trace_the_last_counts() -> None:
    later = assessment(1, last_update_time="2026-03-02T10:00:00Z")
    assert ratings(rows("mlflow_feedback", lines(trace(later, assessment(4)))))[0][1] == [1.0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "a"}, r"line 1: keys text are no trace; what Trace.to_json writes is right"),
        ({"trace": "{"}, r"line 1: trace is broken JSON"),
        (trace(assessment(1)) | {"data": {"spans": []}}, r"trace tr-1: no spans, .* include_spans=True"),
        (trace(assessment(1, source=None)), r"trace tr-1: an assessment without a source"),
        (
            trace(assessment(1), outputs={"x": "a", "y": "b"}),
            r"its response \(keys x, y\) is the answer is not known",
        ),
        (trace(assessment(1), inputs=3), r"its request is int; a text or messages are right"),
        (trace(assessment(1), inputs={"x": "a", "y": "b"}), r"which of x, y holds the prompt is not known"),
    ],
)
def test_what_mlflow_does_not_write_is_named_with_its_trace(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read("mlflow_feedback", lines(given))


# All three


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("label_studio", "label_studio.json", {"labelling": XML}),
        ("label_studio", "label_studio_min.json", {"labelling": XML}),
        ("argilla", "argilla.jsonl", {"labelling": SETTINGS}),
        ("argilla", "argilla_1.jsonl", {"columns": {"completion": "corrected"}}),
        ("argilla", "argilla_server.jsonl", {}),
    ],
)
def test_a_sample_is_of_one_format_and_read_twice_the_same(
    name: str, file: str, told: dict[str, Any]
) -> None:
    items = tuple(sample(file).items())
    look = Sample(file, (EXPORTS / file).read_text(), items)
    for other in ("label_studio", "argilla", "mlflow_feedback"):
        assert (find_format(other).fits(look) == "") == (other == name)
    assert rows(name, sample(file), **told) == rows(name, sample(file), **told)


def test_a_row_of_ones_own_is_of_no_labelling_tool() -> None:
    look = Sample("rows.jsonl", "", (Item({"prompt": "a", "completion": "b", "score": 1}, "line 1"),))
    for name in ("label_studio", "argilla", "mlflow_feedback"):
        assert find_format(name).fits(look)


RANKED = task(
    [result("ranker", "rank", "items", ranker={"rank": ["y", "x"]})],
    {"prompt": "Who?", "items": [{"id": "x", "body": "I."}, {"id": "y", "title": "We."}]},
)


def damaged(value: Any) -> list[Any]:
    """A JSON value with each of its parts, one at a time, made something else or taken away."""
    others: list[Any] = []
    if isinstance(value, dict):
        for key in value:
            others += [{**value, key: other} for other in damaged(value[key])]
            others.append({name: kept for name, kept in value.items() if name != key})
    elif isinstance(value, list):
        for place, one in enumerate(value):
            others += [[*value[:place], other, *value[place + 1 :]] for other in damaged(one)]
    return [*others, None, 7, "x", [], {}, [None], 10**400]


@pytest.mark.parametrize(
    ("name", "record", "told"),
    [
        ("label_studio", task([result("pairwise", "better", selected="left")], ground_truth=True), {}),
        ("label_studio", next(sample("label_studio_min.json").items()).values, {"labelling": XML}),
        ("label_studio", RANKED, {}),
        ("argilla", next(sample("argilla.jsonl").items()).values, {"labelling": SETTINGS}),
        ("argilla", next(sample("argilla_server.jsonl").items()).values, {}),
        ("argilla", next(sample("argilla_1.jsonl").items()).values, {"columns": {"completion": "corrected"}}),
        ("mlflow_feedback", trace(assessment({"preference": "a"}), outputs={"a": "I.", "b": "We."}), {}),
    ],
)  # fmt: skip
def test_damaged_records_give_rows_or_one_error_of_ours(name: str, record: Any, told: dict[str, Any]) -> None:
    read_ones = 0
    for one in damaged(record):
        if not isinstance(one, dict):
            continue
        try:
            found: list[Record] = rows(name, lines(one), **told)
            read_ones += bool(found)
        except UserError as error:
            assert str(error).startswith("given.jsonl, line 1")
    assert read_ones > 0
