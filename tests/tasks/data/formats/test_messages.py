"""Test the format `messages`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.records import canonical_line, pair_row, text_digest
from tests.tasks.data.formats.export_reader import (
    conversation,
    object_sample,
    read_objects,
    read_pairs,
    turn_texts,
)


def test_messages_content_parts_and_zero_weight_are_read() -> None:
    one, two, parts, kind = read_pairs("messages")
    assert turn_texts(one) == ["system: Answer in one word."]
    assert [turn["role"] for turn in two.history] == ["system", "user", "assistant"]
    assert (parts.prompt, parts.completion) == ("What is flour made of?", "Of grain.")
    # Conversations with the same beginning share a group, so that a split keeps them together.
    assert one.group == two.group == parts.group
    # An answer of weight 0 is history only.
    assert kind.completion == "It happens to all of us."
    assert turn_texts(kind)[-1] == "assistant: Your fault." and turn_texts(kind)[0] == "system: Be kind."
    assert kind.group == "bread"


def test_messages_conversation_as_json_text_is_read() -> None:
    turns = json.dumps(conversation("u one", "a two")["messages"])
    (row,) = read_pairs("messages", {"messages": turns})
    assert (row.prompt, row.completion) == ("one", "two")


def test_messages_two_different_system_prompts_are_refused() -> None:
    (row,) = read_pairs(
        "messages", {**conversation("s mine", "u one", "a two"), "system": "mine", "system_prompt": "mine "}
    )
    assert turn_texts(row) == ["system: mine"]
    with pytest.raises(UserError, match="line 1: there are 2 system lines that differ"):
        read_pairs("messages", {**conversation("s mine", "u one", "a two"), "system": "yours"})


def test_messages_pair_without_history_equals_plain_pair() -> None:
    (row,) = read_pairs("messages", conversation("u one", "a two"))
    assert canonical_line(row) == canonical_line(pair_row("one", "two", "mine", text_digest("one")))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [{"content": "a"}]}, "turn 1: a turn without a role cannot be learned"),
        ({"messages": [{"role": ["a"], "content": "a"}]}, "a turn without a role"),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
            "turn 1: tool_calls cannot be learned",
        ),
        ({"messages": [], "tools": [{"type": "function"}]}, "line 1: tools is not supported"),
        ({"messages": [{"role": "user"}]}, "turn 1: its content is null; expected a text or"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}]},
            "turn 1: its content is of type 'image_url'; expected a text or a list of text parts",
        ),
        (conversation("u one", "s two"), "line 1: a system line follows another turn"),
        ({"messages": [], "system": 3}, "line 1: system is a number; expected a text"),
    ],
)
def test_messages_invalid_row_is_refused_with_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_objects("messages", row)


def test_messages_rows_before_broken_row_are_yielded() -> None:
    rows = [conversation("u one", "a two"), {"messages": 3}]
    file = SourceFile("given.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    found = find_format("messages").parse([file], ParseOptions("mine"))
    assert next(found).where == "given.jsonl, line 1"
    with pytest.raises(UserError, match=r"given\.jsonl, line 2"):
        next(found)


def test_messages_fits_preference_row_is_rejected() -> None:
    row = {**conversation("u one", "a two"), "chosen": [], "rejected": []}
    assert "preferences" in find_format("messages").fits(object_sample(row))
