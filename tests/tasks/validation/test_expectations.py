"""Test each rule of validation with a row that breaks it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from model.errors import UserError
from tasks.data.records import TYPES
from tasks.validation.expectations import Limits, Rules, check_table, check_totals, own_expectations

COMMON = {"source": "film", "group": "g1"}
GOOD: dict[str, dict[str, Any]] = {
    "text": {"id": "1", "text": "The mill is old.", **COMMON},
    "pairs": {
        "id": "1", "prompt": "What is old?", "completion": " The mill.", "references": [" The mill."],
        **COMMON,
    },
    "comparisons": {
        "id": "1", "prompt": "What is old?", "a": " The mill.", "b": " Us?", "choice": "a",
        "aspect": "truthfulness", "annotator": "ann", **COMMON,
    },
    "ratings": {
        "id": "1", "prompt": "Finish: the film", "completion": " is lovely.", "scores": [3.0, 2.0],
        "annotators": ["ann", "bob"], "aspect": "tone", **COMMON,
    },
}  # fmt: skip
BROKEN = [
    ("text", {"text": None}, "text is there"),
    ("text", {"source": None}, "source is there"),
    ("pairs", {"completion": None}, "completion is there"),
    ("text", {"text": 3}, "text is a string"),
    ("ratings", {"prompt": ["x"]}, "prompt is a string"),
    ("text", {"text": "x"}, "text has a fit length"),
    ("text", {"text": " \n \t       "}, "text has a fit length"),
    ("pairs", {"completion": " "}, "completion has a fit length"),
    ("comparisons", {"b": "\u3000\u00a0"}, "b has a fit length"),
    ("ratings", {"prompt": "\n\n"}, "prompt has a fit length"),
    ("pairs", {"prompt": "p" * 60}, "prompt has a fit length"),
    ("text", {"text": "one\x00two"}, "text is printable"),
    ("pairs", {"completion": " half \ufffd"}, "completion is printable"),
    ("comparisons", {"aspect": "beauty"}, "aspect is known"),
    ("comparisons", {"choice": "left"}, "choice is known"),
    ("comparisons", {"first_choices": ["a"]}, "each first judgement is a choice of somebody"),
    (
        "comparisons",
        {"first_choices": ["left"], "first_annotators": ["ann"]},
        "each first judgement is a choice of somebody",
    ),
    ("ratings", {"scores": [], "annotators": []}, "scores are there"),
    ("ratings", {"scores": [1.0]}, "each score has its annotator"),
    ("ratings", {"scores": [1.0, "2"]}, "each score has its annotator"),
    ("ratings", {"scores": [1.0, math.nan]}, "each score has its annotator"),
    ("ratings", {"scores": [-11.0, 1.0]}, "score not below -10 (validate.limits.min_score)"),
    ("ratings", {"scores": [1.0, 11.0]}, "score not above 10 (validate.limits.max_score)"),
    ("ratings", {"scores": [55.0]}, "score not above 10 (validate.limits.max_score)"),
    ("text", {"text": "[deleted]"}, "text was not removed"),
    ("pairs", {"completion": " [ Removed by Reddit ]"}, "completion was not removed"),
    ("pairs", {"completion": "This message was deleted."}, "completion was not removed"),
    ("pairs", {"prompt": "<Kommentar gelöscht>"}, "prompt was not removed"),
    ("comparisons", {"b": "[removed]"}, "b was not removed"),
    ("ratings", {"completion": "[supprimé]"}, "completion was not removed"),
    ("pairs", {"completion": "Another one stands here."}, "completion does not repeat the prompt"),
    ("pairs", {"completion": " another ONE\nstands here. "}, "completion does not repeat the prompt"),
    ("pairs", {"prompt": "Why so?", "completion": "Why so?"}, "completion does not repeat the prompt"),
    ("text", {"id": "1", "text": "Another text."}, "id is unique"),
]
RULES = Rules(Limits(max_chars=50))


def second(kind: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return a second valid row with changes."""
    row = {**GOOD[kind], "id": "2"}
    for key in ("text", "prompt"):
        if key in row:
            row[key] = "Another one stands here."
    return {**row, **changes}


@pytest.mark.parametrize(("kind", "changes", "rule"), BROKEN)
def test_check_table_each_rule_is_broken_by_its_row(kind: str, changes: dict[str, Any], rule: str) -> None:
    table = pd.DataFrame([GOOD[kind], second(kind, changes)])
    failures = {failure.rule: failure.rows for failure in check_table(kind, table, RULES)}
    assert failures.get(rule) == (1,)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "Hello!", "completion": "Hello!"}, {"completion": "deleted"},
        {"completion": "[deleted scenes]"},
        {"completion": "The [removed] one."}, {"completion": "It was removed by the miller."},
        {"prompt": "Say one two.", "completion": "One two."}, {"completion": "[see the removed part below]"},
    ],
)  # fmt: skip
def test_check_table_answer_of_its_own_breaks_none(changes: dict[str, Any]) -> None:
    assert check_table("pairs", pd.DataFrame([GOOD["pairs"], second("pairs", changes)]), RULES) == []


def test_check_table_repeated_prompts_are_allowed_by_limits() -> None:
    rules = Rules(Limits(max_chars=50, repeated_prompts=True))
    again = second("pairs", {"completion": "Another one stands here."})
    assert check_table("pairs", pd.DataFrame([GOOD["pairs"], again]), rules) == []


@pytest.mark.parametrize("kind", TYPES)
def test_check_table_good_rows_break_none(kind: str) -> None:
    assert check_table(kind, pd.DataFrame([GOOD[kind], second(kind, {})]), RULES) == []


@pytest.mark.parametrize(("least", "most"), [(3, 10), (0, 1)])
def test_check_totals_row_count_out_of_range_fails(least: int, most: int) -> None:
    (failure,) = check_totals("text", {"count of rows": 2}, {"count of rows": (least, most)})
    assert (failure.rule, failure.rows) == ("count of rows", ()) and failure.says.startswith("2; at ")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"expectation": "ExpectColumnValuesToMatchRegx", "column": "text"}, "did you mean .*MatchRegex"),
        ({"expectation": "ExpectTableRowCountToEqual", "column": "text"}, "not a rule for single rows"),
        (
            {"expectation": "ExpectColumnValuesToMatchRegex", "column": "txt"},
            "text has id, source, group, text",
        ),
        (
            {"expectation": "ExpectColumnValuesToMatchRegex", "column": "text", "regexp": "a"},
            "did you mean regex",
        ),
    ],
)
def test_own_expectations_unknown_rule_suggests_nearest(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"validate\.expectations\.text\.0.*{said}"):
        own_expectations("text", (rule,))
