"""Test the format `unpaired`."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Rating, text_digest
from tests.tasks.data.formats.export_reader import assistant, read_objects, rows_of, user


def test_unpaired_labels_become_ratings() -> None:
    found = rows_of(*read_objects("unpaired"))
    assert all(isinstance(row, Rating) for row in found)
    good, bad, talked, empty = found
    assert (good.scores, good.annotators, good.times) == ([1.0], ["ann"], ["2024-03-01"])
    assert (bad.scores, bad.annotators, bad.times) == ([-1.0], ["unknown"], [])
    assert good.group == bad.group == text_digest("What turns the wheel?")
    assert talked.history == [user("Hello"), assistant("Hi.")] and talked.completion == "The miller."
    assert (good.aspect, talked.aspect) == ("helpfulness", "truthfulness")
    assert empty.completion == ""


@pytest.mark.parametrize(("label", "score"), [("True", 1.0), ("false", -1.0), (1, 1.0), ("0", -1.0)])
def test_unpaired_label_spellings_are_read(label: object, score: float) -> None:
    (row,) = rows_of(*read_objects("unpaired", {"prompt": "one", "completion": "two", "label": label}))
    assert row.scores == [score]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "completion": "b"}, "line 1: no label; its keys are prompt, completion"),
        (
            {"prompt": "a", "completion": "b", "label": "so so"},
            "line 1: label is 'so so'; expected true or false",
        ),
        ({"prompt": "a", "completion": "b", "label": [1]}, "label is a list; expected true or false"),
        ({"prompt": "a", "completion": "b", "label": 2}, "label is 2; expected true or false"),
    ],
)
def test_unpaired_invalid_row_is_refused_with_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_objects("unpaired", row)
