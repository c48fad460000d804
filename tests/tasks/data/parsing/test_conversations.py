"""Test conversations of the chat formats."""

from __future__ import annotations

import pytest

from tests.tasks.data.formats.export_reader import CONVERSATIONS, conversation, read_pairs


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
