"""Test the format `sharegpt`."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import text_digest
from tests.tasks.data.formats.export_reader import read_objects, read_pairs, turn_texts


def test_sharegpt_each_answer_is_pair_with_history() -> None:
    first, second = read_pairs("sharegpt")[:2]
    assert (first.prompt, first.completion) == ("What turns the wheel?", "Water.")
    assert turn_texts(first) == ["system: You know mills."]
    assert (second.prompt, second.completion) == ("Always?", "In some mills wind.")
    assert turn_texts(second) == [*turn_texts(first), "user: What turns the wheel?", "assistant: Water."]
    assert first.group == second.group == text_digest("What turns the wheel?")
    assert first.id != second.id


def test_sharegpt_greeting_is_history_empty_turns_are_dropped() -> None:
    greeted, waited, empty = read_pairs("sharegpt")[2:]
    # A greeting is history, two user turns are joined, and the last turn has no answer.
    assert turn_texts(greeted) == ["assistant: How can I help?"]
    assert greeted.prompt == "I have a question.\n\nWho owns the mill?"
    assert greeted.completion == "The miller."
    # An empty turn is dropped, so the user's turns around it are joined.
    assert (waited.prompt, waited.history) == ("Is it open?\n\nHello?", [])
    # Conversations without an answer give no rows; an empty last answer is left to validation.
    assert empty.completion == "" and turn_texts(empty) == ["system: You know mills."]


def test_sharegpt_rows_keep_line_numbers() -> None:
    found = read_objects("sharegpt")
    assert [one.where for one in found] == [f"sharegpt.jsonl, line {n}" for n in (1, 1, 2, 3, 6)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": []}, "line 1: no conversations; its keys are messages"),
        ({"conversations": 3}, "line 1: a number, expected a list of turns"),
        ({"conversations": "hello"}, "line 1: 'hello', expected a list of turns"),
        ({"conversations": ["hello"]}, "line 1, turn 1: a text, expected an object with role"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "observation", "value": "b"}]},
            "line 1, turn 2: role 'observation' cannot be learned; expected system, user and assistant",
        ),
    ],
)
def test_sharegpt_invalid_row_is_refused_with_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_objects("sharegpt", row)
