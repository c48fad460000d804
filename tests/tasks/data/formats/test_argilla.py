"""Test the format `argilla` on samples of three generations of its exports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import ParsedRow
from tasks.data.values.newest import REPLACED
from tests.tasks.data.formats.export_reader import comparisons, lines, pairs, ratings, read, rows, sample

ANN, BOB, EVE = (f"00000000-0000-0000-0000-{number:012d}" for number in (1, 2, 3))


def test_argilla_2_only_submitted_responses_count() -> None:
    columns = {"completion": "rewrite"}
    found = rows("argilla", sample("argilla.jsonl"), columns=columns)
    assert comparisons(found) == [
        ("Stones.", "Grain.", "b", "helpfulness", ANN),
        ("By the river.", "Near water.", "tie", "helpfulness", ANN),
    ]
    # Bob discarded. Eve's tone is submitted, her choice is a draft. Suggestions of models do not count.
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


def test_argilla_settings_give_question_types() -> None:
    told = rows("argilla", sample("argilla.jsonl"), columns={"completion": "rewrite"})
    assert rows("argilla", sample("argilla.jsonl"), labelling=SETTINGS) == told
    beside = SourceFile("export/.argilla/settings.json", SETTINGS.encode())
    assert rows("argilla", beside, sample("argilla.jsonl")) == told
    with pytest.raises(
        UserError, match=r"record r1: whether rewrite takes texts, labels or rankings is not said"
    ):
        read("argilla", sample("argilla.jsonl"))
    with pytest.raises(UserError, match="source mine, labelling: not a settings file of Argilla"):
        read("argilla", sample("argilla.jsonl"), labelling='{"questions": [1]}')


def test_argilla_export_without_status_is_refused() -> None:
    with pytest.raises(UserError, match=r"to better was submitted or discarded is not said .*to_datasets"):
        read("argilla", sample("argilla_nested.json"))


HUGE = {
    "prompt": "Who?",
    "response_1": "I.",
    "response_1_tone.responses": [10**400],
    "response_1_tone.responses.users": ["ann"],
    "response_1_tone.responses.status": ["submitted"],
}


def flat(value: Any, **more: Any) -> SourceFile:
    record = {
        "id": "r1", "prompt": "Who?", "response_1": "I.", "response_2": "You.", "q.responses": [value],
        "q.responses.users": ["ann"], "q.responses.status": ["submitted"],
    }  # fmt: skip
    return lines({key: kept for key, kept in (record | more).items() if kept != "absent"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lines({"text": "a"}), r"line 1: keys text are not an Argilla record; export with"),
        (
            flat("response_1", **{"q.responses.status": "absent"}),
            r"q.responses.status are not lists of one length",
        ),
        (flat("response_1", **{"q.responses.users": ["ann", "bob"]}), r"are not lists of one length"),
        (flat("response_1", **{"q.responses.status": [None]}), r"a response to q has the status None"),
        (
            flat([{"value": "response_9", "rank": 1}]),
            r"q ranks 'response_9', expected one of prompt, response_1",
        ),
        (
            flat([{"value": "response_1", "rank": None}]),
            r"q ranks response_1 as None; expected a whole number",
        ),
        (flat(["response_1", "response_2"]), r"whether q takes texts, labels or rankings is not said"),
        (flat({"a": 1}), r"record r1: q says \{'a': 1\}, a value that no Argilla question has"),
        (flat(3), r"unknown which of prompt, response_1, response_2 q rates; set it in columns"),
        (lines(HUGE), r"response_1_tone says 10{39}; expected a finite number"),
        (
            lines({"fields": {"prompt": "a"}, "responses": ["x"]}),
            r"a response is an object with user_id, status",
        ),
    ],
)
def test_argilla_invalid_record_is_named(given: SourceFile, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read("argilla", given)


def test_argilla_ranking_without_ranks_is_refused() -> None:
    # Argilla 2 exports the options in their own order and without ranks.
    settings = {"questions": [{"name": "q", "settings": {"type": "ranking"}}]}
    with pytest.raises(UserError, match=r"q has a ranking without ranks, .* the server's API"):
        read("argilla", flat(["response_1", "response_2"]), labelling=json.dumps(settings))


def test_argilla_1_equal_ranks_are_ties() -> None:
    found = rows("argilla", sample("argilla_1.jsonl"), columns={"completion": "corrected"})
    assert [row[:3] for row in comparisons(found)] == [
        ("Wheat.", "Sand.", "a"), ("Wheat.", "Rye.", "tie"), ("Sand.", "Rye.", "b"),
        ("The Rhine.", "The Alps.", "a"), ("The Rhine.", "A lake.", "a"), ("The Alps.", "A lake.", "tie"),
    ]  # fmt: skip
    assert {row[4] for row in comparisons(found)} == {ANN}
    assert ratings(found) == [("Wheat.", [5.0, 4.0], [ANN, BOB], "truthfulness")]
    assert pairs(found) == [("Name a grain.", "Wheat, for one.")]


def test_argilla_server_records_have_ranks_and_times() -> None:
    (row,) = rows("argilla", sample("argilla_server.jsonl"))
    assert (row.a, row.b, row.choice, row.annotator) == ("Sand.", "Wheat.", "b", ANN)
    assert row.time == "2026-03-02T10:00:00"


def server(
    value: Any, person: str | None, time: str, status: str = "submitted", **more: Any
) -> dict[str, Any]:
    answers = {"better": {"value": value}} | more.pop("answers", {})
    response = {"user_id": person, "status": status, "values": answers, "updated_at": time}
    fields = {"instruction": "Who?", "response_1": "I.", "response_2": "You."}
    return {"id": "u1", "external_id": "r1", "fields": fields, "responses": [response]} | more


def exported(*exports: Any, **told: Any) -> tuple[list[ParsedRow], SkipCounts]:
    files = [SourceFile(f"{n}.jsonl", json.dumps(export).encode()) for n, export in enumerate(exports)]
    tally = SkipCounts()
    return list(read_rows(find_format("argilla"), files, ParseOptions("mine", **told), tally)), tally


OLD, NEW = "2026-03-01T10:00:00", "2026-03-02T10:00:00"


@pytest.mark.parametrize(
    ("first", "second", "choices"),
    [
        (("response_1", ANN, OLD), ("response_2", ANN, NEW), [("b", ANN)]),
        (("response_1", ANN, NEW), ("response_2", ANN, OLD), [("a", ANN)]),
        (("response_1", ANN, OLD), ("response_1", ANN, OLD), [("a", ANN)]),
        (("response_1", ANN, OLD), ("response_2", BOB, NEW), [("a", ANN), ("b", BOB)]),
        (("response_1", ANN, OLD), ("response_2", ANN, NEW, "discarded"), []),
        (("response_1", ANN, OLD), ("response_2", None, NEW), [("a", ANN), ("b", "unknown-0")]),
    ],
)
def test_argilla_two_exports_newest_response_counts(first: Any, second: Any, choices: Any) -> None:
    found, tally = exported(server(*first), server(*second))
    assert [(one.row.choice, one.row.annotator) for one in found] == choices  # type: ignore[union-attr]
    assert tally.left_out[REPLACED] == (2 - len(choices) if second[-1] != "discarded" else 1)
    assert tally.left_out["responses that were discarded"] == (second[-1] == "discarded")


def test_argilla_repeated_export_counts_once_later_one_wins() -> None:
    record = {
        "id": "r1", "prompt": "Who?", "response_1": "I.", "response_1_tone.responses": [2],
        "response_1_tone.responses.users": [ANN], "response_1_tone.responses.status": ["submitted"],
    }  # fmt: skip
    found, tally = exported(record, record, {**record, "response_1_tone.responses": [5]})
    assert ratings([one.row for one in found]) == [("I.", [5.0], [ANN], "tone")]
    assert tally.left_out == {REPLACED: 2}


@pytest.mark.parametrize("value", ["unclear", ["off topic"], ["long", "dull"]])
def test_argilla_label_about_no_answer_needs_meaning(value: Any) -> None:
    settings = json.dumps(
        {
            "questions": [
                question("better", "label_selection", "response_1", "response_2"),
                question("topic", "multi_label_selection", "unclear", "off topic", "long", "dull"),
            ]
        }
    )
    records = [server("response_1", ANN, OLD, answers={"topic": {"value": value}}), server("tie", BOB, OLD)]
    found, tally = exported(*records, labelling=settings)
    assert len(found) == 2 and tally.unread["topic"].count == 1
    with pytest.raises(UserError, match=r"record u1: the key topic is .* looks like a verdict; .*fields: "):
        tally.check("mine")
    found, tally = exported(*records, labelling=settings, fields={"topic": "ignore"})
    tally.check("mine", {"topic": "ignore"})
    assert len(found) == 2


def test_argilla_label_with_meaning_in_fields_is_rating() -> None:
    record = server("fine", ANN, OLD, fields={"prompt": "Who?", "response": "I."})
    found, tally = exported(record, fields={"better": {"fine": 1, "dull": -1}})
    tally.check("mine", {"better": "verdict"})
    assert ratings([one.row for one in found]) == [("I.", [1.0], [ANN], "helpfulness")]
    found, _ = exported(server("odd", ANN, OLD), fields={"better": {"fine": 1}})
    assert "better is 'odd', a value without a meaning in fields" in found[0].row.fault


def test_argilla_drafts_and_empty_records_are_counted() -> None:
    draft = server("response_1", ANN, OLD, "draft")
    said = server("response_2", BOB, OLD, answers={"comment": {"value": "Short."}})
    _, tally = exported(draft, said, {**draft, "responses": []})
    assert tally.left_out == {"responses that are drafts": 1, "records without a response": 1}
    tally.check("mine")
    assert [line for line in tally.lines() if "comment (1, as 'Short.')" in line]
