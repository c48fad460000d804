"""The parameters of a batch, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.labelling.batch_parameters import AnswerSource, LabelBatchParameters


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size": 0}, "size is 0"),
        ({"random_share": 1.5}, "random_share is 1.5"),
        ({"num_heads": 1}, "num_heads is 1"),
        ({"max_similarity": 0}, "max_similarity is 0"),
        ({"max_new_tokens": -1}, "max_new_tokens is -1"),
        ({"prompts": ()}, "prompts is empty"),
        ({"answers": (AnswerSource("sft"),)}, "answers has one entry"),
        ({"name": "{date}"}, "the words in braces are"),
        ({"needed": 0}, "needed is 0"),
        ({"aspects": ("tone", "tone")}, "an aspect is named twice"),
    ],
)
def test_label_batch_parameters_wrong_value_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, UserError), match=says):
        LabelBatchParameters(**changes)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "both or neither"),
        ({"model": "sft", "file": "a.jsonl"}, "both or neither"),
        ({"model": "base"}, "expected one of aligned, sft, champion"),
        ({"model": "sft", "temperature": -1}, "temperature is -1"),
    ],
)
def test_answer_source_wrong_value_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AnswerSource(**given)


def test_used_answers_without_aligned_model_are_sft_alone() -> None:
    default = LabelBatchParameters()
    assert {one.model for one in default.used_answers(True)} == {"aligned", "sft"}
    assert {one.model for one in default.used_answers(False)} == {"sft"}
    own = (AnswerSource("champion"), AnswerSource("sft"))
    assert LabelBatchParameters(answers=own).used_answers(False) == own


def test_batch_name_replaces_words() -> None:
    assert LabelBatchParameters(name="{preset} round {number}").batch_name("demo", 3) == "demo round 3"
