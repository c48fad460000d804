"""Test the format `passages`."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tests.tasks.data.formats.export_reader import parse_by_kind


def test_passages_repeated_passage_is_kept_once() -> None:
    texts = [row.text for row in parse_by_kind("passages", "passages.jsonl").text]
    assert texts == [
        "The mill stands near the river.\n It is old.",
        "An old painter painted the station — twice.",
    ]


def test_passages_missing_passage_is_refused() -> None:
    with pytest.raises(UserError, match="line 1: no passage; its keys are question"):
        parse_by_kind("passages", b'{"question": "a"}')
