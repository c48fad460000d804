"""Test the format `alpaca`."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.formats.registry import formats
from tasks.data.records import text_digest
from tests.tasks.data.formats.export_reader import object_sample, read_objects, read_pairs, turn_texts


def test_alpaca_input_changes_prompt_template() -> None:
    alone, with_input, blank, *_ = read_pairs("alpaca")
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
    earlier, last, unasked = read_pairs("alpaca")[3:]
    assert (earlier.prompt, earlier.completion) == ("Does the mill run in summer?", "Every day.")
    assert turn_texts(earlier) == ["system: Be brief."]
    assert turn_texts(last) == [
        "system: Be brief.", "user: Does the mill run in summer?", "assistant: Every day.",
    ]  # fmt: skip
    assert last.completion == "Hardly." and last.group == earlier.group
    # The empty prompt stays empty, so that validation finds it; a template would hide it.
    assert unasked.prompt == "" and unasked.completion == "Nothing was asked."


def test_alpaca_columns_rename_keys() -> None:
    (row,) = read_pairs("alpaca", {"task": "Count.", "output": "One."}, columns={"instruction": "task"})
    assert "Count." in row.prompt and row.completion == "One."


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"output": "a"}, "line 1: no instruction; its keys are output"),
        ({"instruction": "a", "output": None}, "line 1: output is null; expected a text"),
        ({"instruction": "a", "input": 3, "output": "b"}, "line 1: input is a number; expected a text"),
        (
            {"instruction": "a", "output": "b", "history": [["c"]]},
            r"line 1: history: expected a list of turns, or of \[prompt, answer\]",
        ),
    ],
)
def test_alpaca_invalid_row_is_refused_with_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_objects("alpaca", row)


def test_alpaca_fits_row_with_extra_text_key() -> None:
    row = {"instruction": "Count.", "input": "", "output": "One.", "text": "### Instruction: Count. One."}
    assert [known for known, form in formats().items() if not form.fits(object_sample(row))] == ["alpaca"]
