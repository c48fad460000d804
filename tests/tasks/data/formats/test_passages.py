"""Test the format `passages`."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.formats.passages import FORMAT
from tests.tasks.data.formats.export_reader import object_sample, parse_by_kind
from tests.tasks.data.parsing.row_reader import read


def test_passages_repeated_passage_is_kept_once() -> None:
    texts = [row.text for row in parse_by_kind("passages", "passages.jsonl").text]
    assert texts == [
        "The mill stands near the river.\n It is old.",
        "An old painter painted the station — twice.",
    ]


def test_passages_missing_passage_is_refused() -> None:
    with pytest.raises(UserError, match="line 1: no passage; its keys are question"):
        parse_by_kind("passages", b'{"question": "a"}')


@pytest.mark.parametrize(
    "more",
    [{"answer": "There."}, {"answers": {"text": ["There."]}}, {"completion": "There."}, {"label": True}],
)
def test_passages_with_answers_are_another_format(more: dict[str, Any]) -> None:
    sample = object_sample({"question": "Where?", "passage": "The mill stands near the river.", **more})
    assert FORMAT.fits(sample) == f"the key {next(iter(more))} is an answer"


def test_passages_other_keys_and_repeated_passages_are_counted() -> None:
    texts = ["A mill.", "A mill.", " ", "A barn."]
    rows = [{"question": f"{n}?", "passage": text} for n, text in enumerate(texts)]
    found, tally = read(*rows, format="passages")
    assert len(found) == 2
    assert tally.left_out == {"rows about the passage of the row before": 1, "rows without a passage": 1}
    assert {key: seen.count for key, seen in tally.unread.items()} == {"question": 4}
