"""Test the format `hh_rlhf`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.formats.registry import find_format
from tests.tasks.data.formats.export_reader import (
    EXPORTS,
    assistant,
    file_sample,
    read_objects,
    rows_of,
    sides,
    user,
)


def test_hh_rlhf_transcripts_are_cut_at_turns() -> None:
    found = read_objects("hh_rlhf", aspect="harmlessness")
    one, words, early, empty, equal = rows_of(*found)
    assert one.prompt == "What turns the wheel?" and sides(one) == ("Water.", "Boats.")
    assert one.aspect == "harmlessness" and one.annotator == "unknown"
    # Only a blank line with the mark begins a turn.
    assert words.prompt == "And the\n\nAssistants: who are they?"
    assert sides(words) == ("Two people.\nAssistant: is their title.", "Nobody.")
    assert words.history[1] == assistant("I do. My title is Assistant: that is all.")
    # The transcripts differ before their last turns; answers to the same prompt are compared.
    assert early.prompt == "Is it open?" and sides(early) == ("Until six.", "Go away.")
    assert sides(empty) == ("No.", "") and equal.choice == "tie"
    # Lines 4 and 5 do not compare two answers to one prompt.
    assert [one.where for one in found] == [f"hh_rlhf.jsonl, line {n}" for n in (1, 2, 3, 6, 7)]


def test_hh_rlhf_consecutive_turns_are_joined() -> None:
    start = "\n\nHuman: one\n\nHuman: two\n\nAssistant: three\n\nAssistant: four\n\nHuman: five\n\nAssistant:"
    (row,) = rows_of(*read_objects("hh_rlhf", {"chosen": start + " six", "rejected": start + " seven"}))
    assert row.prompt == "five" and sides(row) == ("six", "seven")
    assert row.history == [user("one\n\ntwo"), assistant("three\n\nfour")]


def test_hh_rlhf_red_team_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"attempts\.jsonl, line 1: a red-team transcript"):
        read_objects("hh_rlhf", stem="hh_rlhf_red_team_attempts")
    row = json.loads((EXPORTS / "hh_rlhf_red_team_attempts.jsonl").read_text())
    with pytest.raises(UserError, match=r"given\.jsonl, line 1: a red-team transcript"):
        read_objects("hh_rlhf", row)
    assert "red-team" in find_format("hh_rlhf").fits(file_sample("hh_rlhf_red_team_attempts"))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"chosen": "a", "rejected": "b"}, "line 1, chosen: 'a' is not a transcript"),
        ({"chosen": "\n\nHuman: a", "rejected": 3}, "line 1: rejected is a number; expected a text"),
    ],
)
def test_hh_rlhf_invalid_row_is_refused_with_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_objects("hh_rlhf", row)
