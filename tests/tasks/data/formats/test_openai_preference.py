"""Test the format `openai_preference`."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tests.tasks.data.formats.export_reader import assistant, read_objects, rows_of, sides, user


def test_openai_preference_rows_become_comparisons() -> None:
    one, greeted = rows_of(*read_objects("openai_preference"))
    assert one.prompt == "What turns the wheel?" and sides(one) == ("Water.", "Boats.")
    assert greeted.history == [assistant("Hello, what would you like to know?")]
    assert greeted.prompt == "Who owns the mill?" and greeted.annotator == "bob"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"input": {}}, "line 1: no preferred_output; its keys are input"),
        (
            {"input": "a", "preferred_output": [], "non_preferred_output": []},
            "line 1: input is a text; expected an object with messages",
        ),
        (
            {"input": {"messages": [], "tools": [{}]}, "preferred_output": [], "non_preferred_output": []},
            "line 1: tools is not supported",
        ),
        (
            {"input": {"messages": [user("a")]}, "preferred_output": [], "non_preferred_output": []},
            "line 1: preferred_output has no assistant turn",
        ),
    ],
)
def test_openai_preference_invalid_row_is_refused_with_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_objects("openai_preference", row)
