"""Test the count of empty turns inside conversations."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.data.parsing.empty_turns import REASONS
from tasks.data.records import Pair
from tests.tasks.data.formats.export_reader import conversation
from tests.tasks.data.parsing.row_reader import read

ANSWER, USER = REASONS["assistant"], REASONS["user"]


@pytest.mark.parametrize(
    ("turns", "counted"),
    [
        (("u Hi", "a", "u Hello?", "a Yes."), {ANSWER: 1}),
        (("u Hi", "a  \n", "u Hello?", "a", "u You?", "a Yes."), {ANSWER: 2}),
        (("u Hi", "a Yes.", "u", "a And?"), {USER: 1}),
        (("s Be kind.", "u Hi", "a", "u Hello?", "a Yes."), {ANSWER: 1}),
        (("u Hi", "a Yes.", "u"), {}),
        (("u Hi", "a Yes.", "u Again?", "a"), {}),
        (("s", "u Hi", "a Yes."), {}),
    ],
)
@pytest.mark.parametrize("name", ["messages", "sharegpt"])
def test_read_rows_empty_turn_inside_is_counted(
    name: str, turns: tuple[str, ...], counted: dict[str, int]
) -> None:
    row = conversation(*turns) if name == "messages" else conversation(*turns, name="sharegpt")
    _, tally = read(row if name == "messages" else _shared(row), format=name)
    assert dict(tally.left_out) == counted


def _shared(row: dict[str, Any]) -> dict[str, Any]:
    names = {"role": "from", "content": "value"}
    return {key: [{names[k]: v for k, v in turn.items()} for turn in turns] for key, turns in row.items()}


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"prompt": "So?", "completion": "Yes.", "history": [["Hi", ""], ["Hello?", "Ah."]]}, "rows"),
        ({"instruction": "So?", "output": "Yes.", "history": '[["Hi", " "]]'}, "alpaca"),
        ({"prompt": [*conversation("u Hi", "a", "u So?")["messages"]], "completion": "Yes."}, "rows"),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: \n\nHuman: So?\n\nAssistant: Yes.",
          "rejected": "\n\nHuman: Hi\n\nAssistant: \n\nHuman: So?\n\nAssistant: No."}, "hh_rlhf"),
        ({"chosen": conversation("u Hi", "a", "u So?", "a Yes.")["messages"],
          "rejected": conversation("u Hi", "a", "u So?", "a No.")["messages"]}, "preferences"),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [
            {"type": "text", "text": ""}]}, {"role": "user", "content": "So?"},
            {"role": "assistant", "content": "Yes."}]}, "messages"),
    ],
)  # fmt: skip
def test_read_rows_empty_answer_of_other_spellings_is_counted_once(row: dict[str, Any], format: str) -> None:
    found, tally = read(row, format=format)
    assert not any(one.row.fault for one in found) and found
    assert dict(tally.left_out) == {ANSWER: 1}


def test_read_rows_empty_answer_at_the_end_is_kept_for_validation() -> None:
    found, tally = read(conversation("u Hi", "a Yes.", "u So?", "a"), format="messages")
    assert [one.row.completion for one in found if isinstance(one.row, Pair)] == ["Yes.", ""]
    assert not tally.left_out
