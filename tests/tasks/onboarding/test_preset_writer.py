"""Test that what a preset's comments propose is valid YAML where only the mark of the comment is removed."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tasks.onboarding.preset_writer import _source_section

MANY = {f"key {n}": "ignore" for n in range(210)}


@pytest.mark.parametrize("fields", [{}, {"Rank A": "penalty", "Rank B": "penalty"}, {"no": "verdict"}])
@pytest.mark.parametrize("document_unit", ["file", "paragraph", "line"])
@pytest.mark.parametrize(
    "asked",
    [
        {"Ana Lima": "vote", "Max Roth": "vote"}, {"state": "{good: 1, bad: -1, 'on hold': ...}"}, MANY,
        {"How was it? [0-10]": "..."}, {"votes.ana": '{"1": a, "2": b}', "on": "deleted"},
        {"a: b # c": "ignore", "'quoted'": "..."},
    ],
)  # fmt: skip
@pytest.mark.parametrize("columns", [{}, {"prompt": "Frage: 1"}])
def test_source_section_proposal_without_its_mark_is_valid(
    fields: dict[str, str], document_unit: str, asked: dict[str, str], columns: dict[str, str]
) -> None:
    source = SimpleNamespace(
        name="mine", files=("mine/a.csv",), format="rows", columns=columns, fields=fields, asked=asked,
        document_unit=document_unit, share=1, reasons={}, proposed=True, marked_texts="",
        has_marks=False, exclude=(), unknown=dict.fromkeys(asked, "yes, no"),
        count=lambda kind: 1,
    )  # fmt: skip
    lines = _source_section(source)
    (before,) = yaml.safe_load("\n".join(["sources:", *lines]))["sources"]
    assert before.get("fields", {}) == fields and before["name"] == "mine"
    start = max(n for n, line in enumerate(lines) if "Replace each" in line) + 1
    opened = [*lines[:start], *(re.sub(r"^(\s*)# ", r"\1", line) for line in lines[start:])]
    (after,) = yaml.safe_load("\n".join(["sources:", *opened]))["sources"]
    found: dict[str, Any] = after["fields"]
    assert list(found) == [*fields, *list(asked)[:200]]
    assert before.get("columns", {}) == columns and after["files"] == "mine/a.csv"
