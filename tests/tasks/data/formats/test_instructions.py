"""Test the formats `alpaca`, `sharegpt` and `messages` on samples and on broken rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile, SourceRecord
from tasks.data.formats.registry import find_format, formats
from tasks.data.parsing.base import FileSample, ParseOptions
from tasks.data.records import Pair, ParsedRow, canonical_line, pair_row, text_digest

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"
CONVERSATIONS = {"sharegpt": "conversations", "messages": "messages"}


def read(name: str, *rows: dict[str, Any], **told: Any) -> list[ParsedRow]:
    """Return what a format finds in its sample of tests/fixtures/exports, or in the given objects."""
    file = SourceFile(f"{name}.jsonl", path=EXPORTS / f"{name}.jsonl")
    if rows:
        file = SourceFile("given.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    return list(find_format(name).parse([file], ParseOptions(source="mine", **told)))


def pairs(name: str, *rows: dict[str, Any], **told: Any) -> list[Pair]:
    found = [found.row for found in read(name, *rows, **told)]
    assert all(isinstance(row, Pair) for row in found)
    return found  # type: ignore[return-value]


def said(row: Pair) -> list[str]:
    return [f"{turn['role']}: {turn['content']}" for turn in row.history]


def talk(*turns: str, name: str = "messages") -> dict[str, Any]:
    """Return a row of chat messages: "u …" is the user, "a …" the assistant, "s …" a system prompt."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    said = [{"role": roles[turn[0]], "content": turn[1:].removeprefix(" ")} for turn in turns]
    return {CONVERSATIONS[name]: said}


def test_alpaca_input_changes_prompt_template() -> None:
    alone, with_input, blank, *_ = pairs("alpaca")
    assert alone.prompt.endswith("### Instruction:\nName what the mill grinds.\n\n### Response:\n")
    assert "### Input:" not in alone.prompt and alone.completion == "Grain."
    assert with_input.prompt.endswith(
        "### Instruction:\nMake the sentence shorter.\n\n"
        "### Input:\nThe mill, which is old, stands near the river.\n\n### Response:\n"
    )
    assert with_input.prompt.partition("\n")[0] != alone.prompt.partition("\n")[0]
    # A blank input is none, and braces in an instruction are plain text.
    assert "### Input:" not in blank.prompt and "Say {good} morning." in blank.prompt
    assert alone.group == text_digest(alone.prompt) and alone.source == "mine"


def test_alpaca_history_and_system_become_turns() -> None:
    earlier, last, unasked = pairs("alpaca")[3:]
    assert (earlier.prompt, earlier.completion) == ("Does the mill run in summer?", "Every day.")
    assert said(earlier) == ["system: Be brief."]
    assert said(last) == [
        "system: Be brief.", "user: Does the mill run in summer?", "assistant: Every day.",
    ]  # fmt: skip
    assert last.completion == "Hardly." and last.group == earlier.group
    # The empty prompt stays empty, so that validation finds it; a template would hide it.
    assert unasked.prompt == "" and unasked.completion == "Nothing was asked."


def test_alpaca_columns_rename_keys() -> None:
    (row,) = pairs("alpaca", {"task": "Count.", "output": "One."}, columns={"instruction": "task"})
    assert "Count." in row.prompt and row.completion == "One."


def test_sharegpt_each_answer_is_pair_with_history() -> None:
    first, second = pairs("sharegpt")[:2]
    assert (first.prompt, first.completion) == ("What turns the wheel?", "Water.")
    assert said(first) == ["system: You know mills."]
    assert (second.prompt, second.completion) == ("Always?", "In some mills wind.")
    assert said(second) == [*said(first), "user: What turns the wheel?", "assistant: Water."]
    assert first.group == second.group == text_digest("What turns the wheel?")
    assert first.id != second.id


def test_sharegpt_greeting_is_history_empty_turns_are_dropped() -> None:
    greeted, waited, empty = pairs("sharegpt")[2:]
    # A greeting is history, two user turns are joined, and the last turn has no answer.
    assert said(greeted) == ["assistant: How can I help?"]
    assert greeted.prompt == "I have a question.\n\nWho owns the mill?"
    assert greeted.completion == "The miller."
    # An empty turn is dropped, so the user's turns around it are joined.
    assert (waited.prompt, waited.history) == ("Is it open?\n\nHello?", [])
    # Conversations without an answer give no rows; an empty last answer is left to validation.
    assert empty.completion == "" and said(empty) == ["system: You know mills."]


def test_sharegpt_rows_keep_line_numbers() -> None:
    found = read("sharegpt")
    assert [one.where for one in found] == [f"sharegpt.jsonl, line {n}" for n in (1, 1, 2, 3, 6)]


def test_messages_content_parts_and_zero_weight_are_read() -> None:
    one, two, parts, kind = pairs("messages")
    assert said(one) == ["system: Answer in one word."]
    assert [turn["role"] for turn in two.history] == ["system", "user", "assistant"]
    assert (parts.prompt, parts.completion) == ("What is flour made of?", "Of grain.")
    # Conversations with the same beginning share a group, so that a split keeps them together.
    assert one.group == two.group == parts.group
    # An answer of weight 0 is history only.
    assert kind.completion == "It happens to all of us."
    assert said(kind)[-1] == "assistant: Your fault." and said(kind)[0] == "system: Be kind."
    assert kind.group == "bread"


def test_messages_conversation_as_json_text_is_read() -> None:
    turns = json.dumps(talk("u one", "a two")["messages"])
    (row,) = pairs("messages", {"messages": turns})
    assert (row.prompt, row.completion) == ("one", "two")


def test_messages_two_different_system_prompts_are_refused() -> None:
    (row,) = pairs(
        "messages", {**talk("s mine", "u one", "a two"), "system": "mine", "system_prompt": "mine "}
    )
    assert said(row) == ["system: mine"]
    with pytest.raises(UserError, match="line 1: there are 2 system lines that differ"):
        pairs("messages", {**talk("s mine", "u one", "a two"), "system": "yours"})


def test_messages_pair_without_history_equals_plain_pair() -> None:
    (row,) = pairs("messages", talk("u one", "a two"))
    assert canonical_line(row) == canonical_line(pair_row("one", "two", "mine", text_digest("one")))


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (["u one", "u two", "a three", "a four"], [("one\n\ntwo", "three\n\nfour")]),
        (["u one", "a", "u two", "a three"], [("one\n\ntwo", "three")]),
        (["u one", "a two", "u three"], [("one", "two")]),
        (["a one", "u two", "a three"], [("two", "three")]),
        (["u one", "a two", "u ", "a "], [("one", "two")]),
        (["s one", "s two", "u three"], []),
        (["u one"], []),
        ([], []),
    ],
)
def test_conversations_consecutive_turns_are_joined(
    name: str, turns: list[str], expected: list[tuple[str, str]]
) -> None:
    assert [(row.prompt, row.completion) for row in pairs(name, talk(*turns, name=name))] == expected


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("alpaca", {"output": "a"}, "line 1: no instruction; its keys are output"),
        ("alpaca", {"instruction": "a", "output": None}, "line 1: output is null; a text is right"),
        (
            "alpaca",
            {"instruction": "a", "input": 3, "output": "b"},
            "line 1: input is a number; a text is right",
        ),
        (
            "alpaca",
            {"instruction": "a", "output": "b", "history": [["c"]]},
            r"line 1: history is right as a list of turns, or of \[prompt, answer\]",
        ),
        ("sharegpt", {"messages": []}, "line 1: no conversations; its keys are messages"),
        ("sharegpt", {"conversations": 3}, "line 1: a number where a list of turns is right"),
        ("sharegpt", {"conversations": "hello"}, "line 1: 'hello' where a list of turns is right"),
        ("sharegpt", {"conversations": ["hello"]}, "line 1, turn 1: a text where an object with role"),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "a"}, {"from": "observation", "value": "b"}]},
            "line 1, turn 2: role 'observation' cannot be learned; system, user and assistant are right",
        ),
        ("messages", {"messages": [{"content": "a"}]}, "turn 1: a turn without a role cannot be learned"),
        ("messages", {"messages": [{"role": ["a"], "content": "a"}]}, "a turn without a role"),
        (
            "messages",
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
            "turn 1: tool_calls cannot be learned",
        ),
        ("messages", {"messages": [], "tools": [{"type": "function"}]}, "line 1: tools cannot be learned"),
        ("messages", {"messages": [{"role": "user"}]}, "turn 1: its content is null; a text or"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}]},
            "turn 1: its content is of type 'image_url'; a text or a list of text parts is right",
        ),
        ("messages", talk("u one", "s two"), "line 1: a system line stands after another turn"),
        ("messages", {"messages": [], "system": 3}, "line 1: system is a number; a text is right"),
    ],
)
def test_parse_invalid_conversation_is_refused_with_line(name: str, row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read(name, row)


def test_parse_rows_before_broken_row_are_yielded() -> None:
    rows = [talk("u one", "a two"), {"messages": 3}]
    file = SourceFile("given.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    found = find_format("messages").parse([file], ParseOptions("mine"))
    assert next(found).where == "given.jsonl, line 1"
    with pytest.raises(UserError, match=r"given\.jsonl, line 2"):
        next(found)


def sample(rows: Sequence[dict[str, Any]]) -> FileSample:
    return FileSample(
        "given.jsonl", "", tuple(SourceRecord(row, f"line {n}") for n, row in enumerate(rows, 1))
    )


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "messages"])
def test_fits_sample_matches_only_its_format(name: str) -> None:
    lines = (EXPORTS / f"{name}.jsonl").read_text().splitlines()
    looked_at = sample([json.loads(line) for line in lines])
    assert [known for known, form in formats().items() if not form.fits(looked_at)] == [name]


def test_messages_fits_preference_row_is_rejected() -> None:
    row = {**talk("u one", "a two"), "chosen": [], "rejected": []}
    assert "preferences" in find_format("messages").fits(sample([row]))


def test_alpaca_fits_row_with_extra_text_key() -> None:
    row = {"instruction": "Count.", "input": "", "output": "One.", "text": "### Instruction: Count. One."}
    assert [known for known, form in formats().items() if not form.fits(sample([row]))] == ["alpaca"]
