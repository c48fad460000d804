"""Test the format `mlflow_feedback` on traces of a real store and on written ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.mlflow_feedback import FORMAT
from tasks.data.parsing.base import ParseOptions
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import ParsedRow, Rating
from tests.tasks.data.formats.export_reader import comparisons, lines, pairs, ratings, read, rows


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


def test_mlflow_feedback_traces_of_real_store_give_ratings_and_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.entities import AssessmentSource

    def source(person: str, kind: str = "HUMAN") -> AssessmentSource:
        return AssessmentSource(kind, person)

    # MLflow sets this variable for child processes; monkeypatch restores it after the test.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    try:
        experiment = mlflow.create_experiment("labels", artifact_location=(tmp_path / "artifacts").as_uri())
        asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
        span = mlflow.start_span_no_context(
            "answer", inputs={"messages": asked}, experiment_id=experiment
        )  # no active experiment, which would outlive this test
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
        # None restores the default; the value of get_tracking_uri would stay for all later tests.
        mlflow.set_tracking_uri(None)

    read_back = rows("mlflow_feedback", SourceFile("traces.jsonl", found.to_json().encode()))
    assert ratings(read_back) == [("The miller.", [5.0, 0.0], ["ann", "bob"], "truthfulness")]
    assert pairs(read_back) == [("Who?", "The miller runs it.")]
    (rating,) = (row for row in read_back if isinstance(row, Rating))
    assert rating.history == [{"role": "system", "content": "Be brief."}]
    assert all(time.endswith("Z") for time in rating.times) and len(rating.times) == 2
    assert rows("mlflow_feedback", SourceFile("table.jsonl", table.encode())) == read_back


def test_mlflow_feedback_assessment_is_rating_or_comparison() -> None:
    given = lines(
        trace(assessment("yes"), assessment(0.5, by="bob"), inputs={"question": "Who?", "top_k": 3}),
        trace(
            assessment({"preference": "B"}, span_id="289fdd3eb68bc986"), assessment("tie", by="bob"),
            outputs={"a": "The miller.", "b": "Nobody."},
        ),
        trace(assessment(3, span_id="0000000000000001")),  # feedback on a part of the trace
        trace(assessment(3), outputs=None),  # no answer
        trace(),
    )  # fmt: skip
    found = rows("mlflow_feedback", given)
    assert ratings(found) == [("The miller.", [1.0, 0.5], ["ann", "bob"], "helpfulness")]
    assert [row[2:] for row in comparisons(found)] == [
        ("b", "helpfulness", "ann"), ("tie", "helpfulness", "bob"),
    ]  # fmt: skip


def test_mlflow_feedback_latest_assessment_of_person_counts() -> None:
    later = assessment(1, last_update_time="2026-03-02T10:00:00Z")
    assert ratings(rows("mlflow_feedback", lines(trace(later, assessment(4)))))[0][1] == [1.0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "a"}, r"line 1: keys text are not a trace; expected what Trace.to_json writes"),
        ({"trace": "{"}, r"line 1: trace is invalid JSON"),
        (trace(assessment(1)) | {"data": {"spans": []}}, r"trace tr-1: no spans, .* include_spans=True"),
        (trace(assessment(1, source=None)), r"trace tr-1: an assessment without a source"),
        (
            trace(assessment(1), outputs={"x": "a", "y": "b"}),
            r"unknown which part of its response \(keys x, y\) is the answer",
        ),
        (trace(assessment(1), inputs=3), r"its request is a number; expected a text or messages"),
        (trace(assessment(1), inputs={"x": "a", "y": "b"}), r"unknown which of x, y is the prompt"),
    ],
)
def test_mlflow_feedback_invalid_trace_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read("mlflow_feedback", lines(given))


@pytest.mark.parametrize("value", ["mostly right", "meh", "partly", {"grade": "C"}])
def test_mlflow_feedback_unknown_word_needs_meaning(value: Any) -> None:
    said = {
        "assessment_name": "quality", "source": {"source_type": "HUMAN", "source_id": "ana"},
        "feedback": {"value": value},
    }  # fmt: skip
    trace = {
        "info": {"trace_id": "t1", "assessments": [said]},
        "data": {"request": "Name a bird.", "response": "A robin."},
    }
    file, tally = SourceFile("a.jsonl", json.dumps(trace).encode()), SkipCounts()
    assert list(FORMAT.stream([file], ParseOptions("mine"), tally)) == []
    with pytest.raises(UserError, match=r"the key quality is .* and looks like a verdict"):
        tally.check("mine")
    if isinstance(value, str):
        reading, tally = ParseOptions("mine", fields={"quality": {value: 0.5}}), SkipCounts()
        (found,) = FORMAT.stream([file], reading, tally)
        assert isinstance(found, ParsedRow) and isinstance(found.row, Rating) and found.row.scores == [0.5]
        tally.check("mine", reading.fields)


def exported(*exports: dict[str, Any]) -> tuple[list[Any], SkipCounts]:
    files = [SourceFile(f"{n}.jsonl", json.dumps(export).encode()) for n, export in enumerate(exports)]
    tally = SkipCounts()
    found = [
        one.row for one in FORMAT.stream(files, ParseOptions("mine"), tally) if isinstance(one, ParsedRow)
    ]
    return found, tally


LATER = {"last_update_time": "2026-03-05T10:00:00Z"}


@pytest.mark.parametrize(
    ("first", "second", "scores"),
    [
        (assessment(1), assessment(5, **LATER), {"ann": 5.0}),
        (assessment(1, **LATER), assessment(5), {"ann": 1.0}),
        (assessment(4), assessment(4), {"ann": 4.0}),
        (assessment(4), assessment(2, by="bob"), {"ann": 4.0, "bob": 2.0}),
        (assessment(4, assessment_id="x"), assessment(4, assessment_id="x", valid=False), {}),
        (assessment(4, assessment_id="x"), assessment(2, by="bob", overrides="x"), {"bob": 2.0}),
    ],
)  # fmt: skip
def test_mlflow_feedback_two_exports_newest_assessment_counts(
    first: dict[str, Any], second: dict[str, Any], scores: dict[str, float]
) -> None:
    found, tally = exported(trace(first), trace(second))
    told = {name: score for row in found for name, score in zip(row.annotators, row.scores, strict=True)}
    assert told == scores and sum(len(row.scores) for row in found) == len(scores)
    assert tally.left_out["annotations that a newer one of the same person replaces"] == 2 - len(scores)


def test_mlflow_feedback_other_traces_are_kept_skipped_ones_counted() -> None:
    other = trace(assessment(2))
    other["info"]["trace_id"] = "tr-2"
    judged = trace(assessment(1, source={"source_type": "CODE", "source_id": "check.py"}), outputs="Nobody.")
    found, tally = exported(
        trace(assessment(1)), other, judged, trace(assessment(1, span_id="01"), outputs="X.")
    )
    assert [row.scores for row in found] == [[1.0], [2.0]]
    assert tally.left_out == {
        "assessments by judges and code": 1, "traces that no person judged": 1,
        "assessments of a part of a trace": 1,
    }  # fmt: skip


def two_questions(*values: Any, fields: Any) -> tuple[list[float], SkipCounts]:
    """Return the scores of one key's values, each of another person, and the counts."""
    given = [assessment(value, by=f"person{number}") for number, value in enumerate(values)]
    tally = SkipCounts()
    file = SourceFile("a.jsonl", json.dumps(trace(*given)).encode())
    found = list(FORMAT.stream([file], ParseOptions("mine", fields=fields), tally))
    scores = [
        s
        for one in found
        if isinstance(one, ParsedRow) and isinstance(one.row, Rating)
        for s in one.row.scores
    ]
    return scores, tally


@pytest.mark.parametrize(
    ("values", "fields", "scores"),
    [
        ((4, "👍", True), {"👍": 5, "true": 5}, [4, 5, 5]),
        ((2.5, "thumbs_up", False), {"thumbs_up": 5, "false": 1}, [2.5, 5, 1]),
        ((1, "3 stars", "yes", "meh"), {"yes": 4, "meh": 2}, [1, 3, 4, 2]),
    ],
)
def test_mlflow_feedback_two_questions_under_one_key_are_asked_then_read(
    values: tuple[Any, ...], fields: dict[str, Any], scores: list[float]
) -> None:
    _, tally = two_questions(*values, fields={})
    with pytest.raises(UserError) as error:
        tally.check("mine")
    assert all(f"{word}" in str(error.value) for word in ("helpfulness", "set"))
    told = {"helpfulness": fields}
    found, tally = two_questions(*values, fields=told)
    tally.check("mine", told)
    assert found == scores


@pytest.mark.parametrize("values", [(4, 2), (True, "thumbs_down"), ("yes", "good", 5)])
def test_mlflow_feedback_ignored_key_is_not_read(values: tuple[Any, ...]) -> None:
    found, tally = two_questions(*values, fields={"helpfulness": "ignore"})
    tally.check("mine", {"helpfulness": "ignore"})
    assert found == []


def test_mlflow_feedback_two_scales_propose_a_meaning_for_each_word() -> None:
    _, tally = two_questions(4, True, False, fields={})
    with pytest.raises(
        UserError, match=r'as in fields: \{helpfulness: \{"false": \.\.\., "true": \.\.\.\}\}'
    ):
        tally.check("mine")


@pytest.mark.parametrize(
    ("values", "mapping"),
    [
        ((4, True, "thumbs_up"), '{thumbs_up: ..., "true": ...}'),
        ((5, 0, "meh"), "{meh: ...}"),
        ((2, False, "👎", "fine"), '{"false": ..., fine: ..., "👎": ...}'),
    ],
)
def test_mlflow_feedback_key_on_two_scales_gets_one_proposal(values: tuple[Any, ...], mapping: str) -> None:
    _, tally = two_questions(*values, fields={})
    with pytest.raises(UserError) as error:
        tally.check("mine")
    assert str(error.value).count("\n") == 0
    assert str(error.value).count("as in fields: ") == 1
    assert "the scores under helpfulness are on two scales" in str(error.value)
    assert tally.propose_all(tally.asks()) == {"helpfulness": mapping}
