"""Test verdicts on masked answers, and masks on single turns of joined answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import detect_format
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.parsing.row_verdicts import MASKED_VERDICT
from tasks.data.parsing.skip_counts import SkipCounts
from tasks.data.records import Comparison, Pair, ParsedRow, Rating

MASKS: list[dict[str, Any]] = [{"weight": 0}, {"train": "false"}, {"masked": True}, {"loss_mask": 0.0}]


def read(*rows: Any, **told: Any) -> tuple[list[ParsedRow], SkipCounts]:
    file = SourceFile("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    tally = SkipCounts()
    name = detect_format([file], "mine", "auto").name
    return list(read_rows(find_format(name), [file], ParseOptions("mine", **told), tally)), tally


def chat(*turns: str | tuple[str, dict[str, Any]], sharegpt: bool = False) -> dict[str, Any]:
    """Return a conversation; the letter before the colon is the role."""
    made = []
    for turn in turns:
        text, more = (turn, {}) if isinstance(turn, str) else turn
        role, _, said = text.partition(":")
        name = {"u": "human", "a": "gpt"} if sharegpt else {"u": "user", "a": "assistant"}
        speaker, content = ("from", "value") if sharegpt else ("role", "content")
        made.append({speaker: name[role], content: said, **more})
    return {"conversations" if sharegpt else "messages": made}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("verdict", [{"label": False}, {"rating": 5}, {"thumbs": "👎"}, {"answer": "reject"}])
@pytest.mark.parametrize("sharegpt", [False, True])
def test_read_rows_verdict_on_masked_answer_reaches_no_other_turn(
    mask: dict[str, Any], verdict: dict[str, Any], sharegpt: bool
) -> None:
    row = chat("u:One?", "a:First.", "u:Two?", ("a:Second.", mask), sharegpt=sharegpt)
    found, tally = read({**row, **verdict})
    assert not found
    assert tally.left_out[MASKED_VERDICT] == 1
    assert tally.left_out["earlier answers of conversations with a verdict on the whole"] == 1


def test_read_rows_verdict_on_fully_masked_chat_is_counted() -> None:
    found, tally = read({**chat("u:One?", ("a:First.", {"weight": 0})), "label": True})
    assert not found and tally.left_out[MASKED_VERDICT] == 1
    found, tally = read(chat("u:One?", ("a:First.", {"weight": 0})))
    assert not found and MASKED_VERDICT not in tally.left_out


def test_read_rows_verdict_with_earlier_masked_answer_rates_last() -> None:
    row = chat("u:One?", ("a:First.", {"weight": 0}), "u:Two?", "a:Second.", "u:Thanks.")
    (found,), tally = read({**row, "label": False})
    assert isinstance(found.row, Rating) and found.row.completion == "Second."
    assert found.row.scores == [-1.0] and MASKED_VERDICT not in tally.left_out


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("turns", "learned"),
    [
        (["u:One?", "a:Bad.*", "a:Good."], ["Good."]), (["u:One?", "a:Good.", "a:Bad.*"], ["Good."]),
        (["u:One?", "a:A.", "a:B.*", "a:C."], ["A.\n\nC."]), (["u:One?", "a:A.*", "a:B.*"], []),
        (["u:One?", "a:A.", "a:B.*", "u:Two?", "a:C."], ["A.", "C."]),
    ],
)  # fmt: skip
def test_read_rows_mask_removes_only_its_turn_of_joined_answer(
    mask: dict[str, Any], turns: list[str], learned: list[str]
) -> None:
    row = chat(*((turn[:-1], mask) if turn.endswith("*") else turn for turn in turns))
    found, tally = read({**row, "system": "Be kind."})
    assert [one.row.completion for one in found if isinstance(one.row, Pair)] == learned
    masked = sum(turn.endswith("*") for turn in turns)
    assert tally.left_out["answers marked as not to be learned"] == masked
    if len(found) > 1:
        assert found[1].row.history[-1]["content"] == "A.\n\nB."  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("turns", "rated"),
    [
        (["u:One?", ("a:Bad.", {"weight": 0}), "a:Good."], "Good."),
        (["u:One?", "a:Good.", ("a:Bad.", {"weight": 0})], ""),
        (["u:One?", "a:First.", "u:Two?", "a:Good.", ("a:Bad.", {"train": False})], ""),
    ],
)
def test_read_rows_verdict_on_joined_answer_rates_last_turn(turns: list[Any], rated: str) -> None:
    found, tally = read({**chat(*turns), "score": 4})
    assert [one.row.completion for one in found if isinstance(one.row, Rating)] == ([rated] if rated else [])
    assert tally.left_out[MASKED_VERDICT] == (not rated)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "One?", "completion": ["*"]}, Pair),
        ({"prompt": "One?", "chosen": ["*"], "rejected": ["*"]}, Comparison),
        ({"prompt": "One?", "completion": ["*"], "label": True}, Rating),
    ],
)  # fmt: skip
def test_read_rows_masked_answer_in_message_list_gives_no_record(
    mask: dict[str, Any], row: dict[str, Any], kind: Any
) -> None:
    def filled(more: dict[str, Any]) -> dict[str, Any]:
        return {
            key: [{"role": "assistant", "content": key, **more}] if value == ["*"] else value
            for key, value in row.items()
        }

    found, tally = read(filled(mask), filled({}))
    assert [type(one.row) for one in found] == [kind]
    assert tally.left_out["rows without an answer to learn"] == 1 and not tally.faults
