"""Test that the formats with fixed keys take `ignore` for others, and no other meaning."""

from __future__ import annotations

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
