"""Test conversations of the chat formats."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.data.formats.export_reader import CONVERSATIONS, conversation, read_pairs
from tests.tasks.data.parsing.row_reader import read


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
    assert [
        (row.prompt, row.completion) for row in read_pairs(name, conversation(*turns, name=name))
    ] == expected


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"input": "Name a tree.", "chosen": "An oak.", "rejected": "A rock."},
            {"format": "preferences", "columns": {"prompt": "input"}},
        ),
        (
            {"context": "Name a tree.", "completion": "An oak.", "label": True},
            {"format": "unpaired", "columns": {"prompt": "context"}},
        ),
        (
            {"system": "Name a tree.", "chosen": "An oak.", "rejected": "A rock."},
            {"format": "preferences", "columns": {"prompt": "system"}},
        ),
        (
            {"history": "Name a tree.", "chosen": "An oak.", "rejected": "A rock."},
            {"format": "preferences", "columns": {"prompt": "history"}},
        ),
    ],
)
def test_key_that_is_mapped_to_prompt_is_read_once(row: dict[str, Any], told: dict[str, Any]) -> None:
    ((found, *_),), _ = read(row, **told)
    assert (found.prompt, found.history) == ("Name a tree.", [])


def test_instruction_under_input_is_not_its_own_input() -> None:
    ((found, *_),), _ = read(
        {"input": "Name a tree.", "output": "An oak."}, format="alpaca", columns={"instruction": "input"}
    )
    assert found.prompt.count("Name a tree.") == 1


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}, "messages"),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, "sharegpt"),
        ({"prompt": "Q", "chosen": "A", "rejected": "B"}, "preferences"),
        ({"prompt": "Q", "completion": "A", "label": True}, "unpaired"),
        ({"instruction": "Q", "output": "A"}, "alpaca"),
        ({"prompt": "Q", "completion": "A"}, "rows"),
    ],
)
@pytest.mark.parametrize("topic", ["rivers", 7, 7.0])
def test_group_under_another_name_is_read_in_each_format(
    row: dict[str, Any], format: str, topic: object
) -> None:
    ((found, *_),), tally = read({**row, "topic": topic}, format=format, columns={"group": "topic"})
    assert found.group == ("rivers" if topic == "rivers" else "7")
    assert not tally.unread


def test_history_under_another_name_is_read() -> None:
    before = [["Hi", "Hello!"]]
    for row, format in (
        ({"instruction": "Q", "output": "A"}, "alpaca"),
        ({"prompt": "Q", "completion": "A", "label": True}, "unpaired"),
        ({"prompt": "Q", "chosen": "A", "rejected": "B"}, "preferences"),
    ):
        found, _ = read({**row, "earlier": before}, format=format, columns={"history": "earlier"})
        assert [turn["content"] for turn in found[-1].row.history] == ["Hi", "Hello!"]


def test_key_beside_its_mapped_name_is_listed_as_unused() -> None:
    row = {"instruction": "Q", "output": "A", "system": "not read", "rules": "Be brief."}
    ((found, *_),), tally = read(row, format="alpaca", columns={"system": "rules"})
    assert found.history == [{"role": "system", "content": "Be brief."}]
    assert set(tally.unread) == {"system"}
