"""Test keys of right answers beside a model's output."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Pair
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A cat, perhaps."}
CHAT = {"messages": [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "A cat."}]}
GOLD = [
    "ideal", "gold", "ground_truth", "groundTruth", "reference", "target", "expected", "human_response",
    "final_answer",
    "label_text", "gold_standard", "reference_answer", "expert answer", "Musterlösung", "réponse attendue",
    "respuesta esperada", "标准答案", "target_output", "desired_output", "ground_truth_answer",
]  # fmt: skip


@pytest.mark.parametrize("row", [PAIR, CHAT])
@pytest.mark.parametrize("key", GOLD)
def test_skip_counts_check_right_answer_beside_output_is_asked_about(row: dict[str, Any], key: str) -> None:
    _, tally = read({**row, key: "It is a robin."})
    with pytest.raises(UserError, match=r"right answer beside the answer.*correction"):
        tally.check("mine")
    found, _ = read({**row, key: "It is a robin."}, fields={key: "correction"})
    assert [one.row.completion for one in found if isinstance(one.row, Pair)] == ["It is a robin."]


@pytest.mark.parametrize("name", ["ground_truth", "gold.text", "reference.answer"])
def test_skip_counts_check_right_answer_inside_an_object_is_asked_about(name: str) -> None:
    outer, _, inner = name.partition(".")
    value = {inner: "It is a robin."} if inner else "It is a robin."
    _, tally = read({**PAIR, "meta": {outer: value}})
    with pytest.raises(UserError, match=f"meta.{name} is .*right answer"):
        tally.check("mine")


@pytest.mark.parametrize("key", ["ideal", "ground_truths", "reference_answers"])
def test_skip_counts_check_several_right_answers_propose_nothing(key: str) -> None:
    _, tally = read({**PAIR, key: ["A robin", "A wren"]})
    with pytest.raises(UserError, match=rf"several right answers.*{{{key}: \.\.\.}}"):
        tally.check("mine")


@pytest.mark.parametrize(
    "other",
    [
        {"ground_truth": 42}, {"ground_truth": "42"}, {"final_answer": "B"}, {"reference": "https://a.org/b"},
        {"target": "children"}, {"target_audience": "small children, and parents"}, {"gold_price": "high"},
        {"reference_id": "a b c"}, {"human": "Bob"}, {"ideal_length": "two or three lines"},
        {"gold": None}, {"references_count": 3}, {"final": "a b c d"}, {"target_language": "Old High German"},
    ],
)  # fmt: skip
def test_skip_counts_check_other_keys_beside_output_are_not(other: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **other})
    tally.check("mine")


@pytest.mark.parametrize(
    "row",
    [
        {"text": "A robin sings."}, {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A cat."},
        {"prompt": "Name a bird.", "a": "A robin.", "b": "A cat.", "choice": "a"},
    ],
)  # fmt: skip
def test_skip_counts_check_right_answer_without_an_output_is_listed_only(row: dict[str, Any]) -> None:
    _, tally = read({**row, "reference": "It is a robin."})
    tally.check("mine")
    assert any("unused keys: reference" in line for line in tally.lines())
