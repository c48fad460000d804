"""Test keys that nothing reads: what may be ignored, and what is asked about."""

from __future__ import annotations

import re
from typing import Any

import pytest

from model.errors import UserError
from tests.tasks.data.parsing.row_reader import read

PASSAGE = {"passage": "The mill stands near the river."}
QUESTION = {"question": "where is the mill", "answer": ["near the river"]}
CASES = [
    ("passages", PASSAGE, "question", "Where?"),
    ("passages", PASSAGE, "label", False),
    ("passages", PASSAGE, "idx", 7),
    ("natural_questions", QUESTION, "answer_and_def_correct_predictions", ["near the river"]),
    ("natural_questions", QUESTION, "rating", 4),
]


@pytest.mark.parametrize(("format", "row", "key", "value"), CASES)
def test_count_extra_key_ignored_key_is_no_notice(
    format: str, row: dict[str, Any], key: str, value: Any
) -> None:
    found, tally = read({**row, key: value}, format=format, fields={key: "ignore"})
    assert len(found) == 1 and not tally.unread
    # Every key of `fields` was found.
    tally.check("mine", {key: "ignore"})
    _, tally = read({**row, key: value}, format=format)
    assert list(tally.unread) == [key]


@pytest.mark.parametrize(("format", "row", "key", "value"), CASES)
def test_count_extra_key_ignored_key_that_is_empty_is_found(
    format: str, row: dict[str, Any], key: str, value: Any
) -> None:
    _, tally = read({**row, key: None}, format=format, fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})
    with pytest.raises(UserError, match=f"fields has the key {key}x, which no row has"):
        tally.check("mine", {f"{key}x": "ignore"})


@pytest.mark.parametrize("meaning", ["verdict", "review", {"yes": 1}])
@pytest.mark.parametrize(("format", "row", "key", "value"), CASES)
def test_count_extra_key_other_meaning_is_refused(
    format: str, row: dict[str, Any], key: str, value: Any, meaning: Any
) -> None:
    with pytest.raises(UserError, match=f"fields gives the key {key} a meaning.*write {key}: ignore"):
        read({**row, key: value}, format=format, fields={key: meaning})


TEXT = {"text": "The mill stands near the river."}
PAIR = {"prompt": "Where is the mill?", "completion": "Near the river."}
TASK = {"instruction": "Where is the mill?", "output": "Near the river."}
TURNS = {
    "messages": [
        {"role": "user", "content": "Where is the mill?"},
        {"role": "assistant", "content": "Near the river."},
    ]
}
RATED = {**PAIR, "score": 2, "annotator": "ana"}
REASON = "The facts in this answer are wrong, as the mill was built in 1850."


@pytest.mark.parametrize("row", [TEXT, PAIR, TASK, TURNS, RATED])
@pytest.mark.parametrize(
    ("key", "value"),
    [("rejected_reason", REASON), ("rejected_category", "safety"), ("rejected_type", "topic")],
)
@pytest.mark.parametrize("nested", [False, True])
def test_check_reason_of_a_rejection_is_asked_about(
    row: dict[str, Any], key: str, value: str, nested: bool
) -> None:
    more: dict[str, Any] = {"metadata": {key: value}} if nested else {key: value}
    path = f"metadata.{key}" if nested else key
    _, tally = read(row, {**row, **more})
    with pytest.raises(UserError, match=f"the key {path} is .*the reason of a rejection.*{path}: deleted"):
        tally.check("mine")
    found, tally = read({**row, **more}, fields={path: "deleted"})
    tally.check("mine", {path: "deleted"})
    assert not found and tally.left_out == {"rows marked as deleted": 1}


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Where?", "chosen": "Near the river.", "rejected": "On the hill."},
        {"prompt": "Where?", "a": "Near the river.", "b": "On the hill.", "choice": "a"},
        {"prompt": "Where?", "chosen": "Near the river.", "rejected": "On the hill."},
    ],
)
@pytest.mark.parametrize("key", ["rejected_reason", "rejected_score", "reason_rejected"])
def test_check_reason_beside_two_answers_is_about_the_worse_one(row: dict[str, Any], key: str) -> None:
    found, tally = read({**row, key: REASON})
    tally.check("mine")
    assert len(found) == 1


@pytest.mark.parametrize("value", ["", None, "none", "n/a", "-"])
def test_check_empty_reason_of_a_rejection_is_not_asked_about(value: str | None) -> None:
    for row in (PAIR, TEXT, TASK):
        found, tally = read({**row, "rejected_reason": value})
        tally.check("mine")
        assert len(found) == 1


@pytest.mark.parametrize("key", ["rejected_model", "rejected_id", "rejected_source"])
def test_check_maker_of_a_rejected_answer_is_not_asked_about(key: str) -> None:
    _, tally = read({**PAIR, key: "model 7"})
    tally.check("mine")


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("metadata", {"feedback": {"type": "down"}}), ("meta", {"rating": {"source": "poor"}}),
        ("extra", {"user_reactions": {"name": "dislike"}}), ("info", {"thumb": {"type": "negative"}}),
        ("ui", {"clicked": "down"}), ("ui", {"state": {"button": "+1"}}), ("clicked", "downvote"),
    ],
)  # fmt: skip
def test_count_unread_vote_inside_turn_is_asked_with_its_path(key: str, held: Any) -> None:
    path = key
    inner = held
    while isinstance(inner, dict):
        (name, inner), *_ = inner.items()
        path += f".{name}"
    turns = [{"role": "user", "content": "A bird?"}, {"role": "assistant", "content": "A robin.", key: held}]
    _, tally = read({"messages": turns})
    with pytest.raises(UserError, match=re.escape(f"the key messages[].{path} is {inner!r}")):
        tally.check("mine")


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("metadata", {"model": {"type": "chat"}}), ("metadata", {"lang": "no"}), ("name", "Ada"),
        ("metadata", {"scroll": {"to": "top"}}), ("metadata", {"tokens": 12, "time": "2024-01-02T10:00"}),
    ],
)  # fmt: skip
def test_count_unread_other_value_inside_turn_passes(key: str, held: Any) -> None:
    turns = [{"role": "user", "content": "A bird?"}, {"role": "assistant", "content": "A robin.", key: held}]
    _, tally = read({"messages": turns})
    tally.check("mine")


def test_count_unread_direction_beside_pair_passes() -> None:
    _, tally = read(*({"prompt": "A?", "completion": "B.", "meta": {"way": way}} for way in ("up", "left")))
    tally.check("mine")


def test_read_rows_vote_inside_turn_is_read_by_its_path() -> None:
    path = "messages[].metadata.feedback.type"
    user = {"role": "user", "content": "A bird?"}
    rows = [
        {
            "messages": [
                user,
                {"role": "assistant", "content": word, "metadata": {"feedback": {"type": word}}},
            ]
        }
        for word in ("up", "down")
    ]
    found, tally = read(*rows, fields={path: "verdict"})
    tally.check("mine", {path: "verdict"})
    assert [one.row.scores for one in found] == [[1.0], [-1.0]]


@pytest.mark.parametrize("key", ["comment", "note", "meta.remark", "memo", "reviewer_notes", "bemerkung"])
@pytest.mark.parametrize(
    "said",
    [
        "reject this one", "Please remove this one, it is wrong", "drop this row", "delete it",
        "Exclude from training!",
        "Discard this answer because it names the wrong river and its source says something else entirely.",
        "skip this, the prompt is cut", "remove this bad example", "please redo it",
    ],
)  # fmt: skip
def test_count_unread_remark_that_orders_a_removal_is_asked(key: str, said: str) -> None:
    rows = [{"prompt": f"A {n}?", "completion": "B."} for n in range(9)]
    name, _, inner = key.partition(".")
    _, tally = read(*rows, {"prompt": "C?", "completion": "D.", name: {inner: said} if inner else said})
    with pytest.raises(UserError, match=f"the key {key} is .* looks like a verdict; .*fields: "):
        tally.check("mine")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("comment", "Remove this term from both sides."), ("comment", "see page 3"), ("title", "Delete it"),
        ("note", "It says to drop this row, which is wrong to ask"), ("steps", "Remove the line"),
        ("note", "Delete the comma after the name."), ("summary", "Skip this one"),
        ("comment", "this one is fine"),
    ],
)  # fmt: skip
def test_count_unread_other_remark_passes(key: str, said: str) -> None:
    _, tally = read({"prompt": "A?", "completion": "B.", key: said}, {"prompt": "C?", "completion": "D."})
    tally.check("mine")


def test_skip_counts_propose_ordered_removal_leaves_other_rows_as_they_are() -> None:
    _, tally = read({"prompt": "A?", "completion": "B.", "memo": "drop this row"})
    assert tally.propose_all(tally.asks()) == {"memo": '{drop_this_row: ignore, "": accept}'}
