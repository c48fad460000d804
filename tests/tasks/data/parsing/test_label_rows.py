"""Test damaged records of labelling tools: each gives rows or one UserError."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Record
from tests.tasks.data.formats.export_reader import lines, rows, sample
from tests.tasks.data.formats.test_argilla import SETTINGS
from tests.tasks.data.formats.test_label_studio import XML, result, task
from tests.tasks.data.formats.test_mlflow_feedback import assessment, trace

RANKED = task(
    [result("ranker", "rank", "items", ranker={"rank": ["y", "x"]})],
    {"prompt": "Who?", "items": [{"id": "x", "body": "I."}, {"id": "y", "title": "We."}]},
)


def damaged(value: Any) -> list[Any]:
    """Return copies of a JSON value, each with one part replaced or removed."""
    others: list[Any] = []
    if isinstance(value, dict):
        for key in value:
            others += [{**value, key: other} for other in damaged(value[key])]
            others.append({name: kept for name, kept in value.items() if name != key})
    elif isinstance(value, list):
        for place, one in enumerate(value):
            others += [[*value[:place], other, *value[place + 1 :]] for other in damaged(one)]
    return [*others, None, 7, "x", [], {}, [None], 10**400]


@pytest.mark.parametrize(
    ("name", "record", "told"),
    [
        ("label_studio", task([result("pairwise", "better", selected="left")], ground_truth=True), {}),
        ("label_studio", next(sample("label_studio_min.json").items()).values, {"labelling": XML}),
        ("label_studio", RANKED, {}),
        ("argilla", next(sample("argilla.jsonl").items()).values, {"labelling": SETTINGS}),
        ("argilla", next(sample("argilla_server.jsonl").items()).values, {}),
        ("argilla", next(sample("argilla_1.jsonl").items()).values, {"columns": {"completion": "corrected"}}),
        ("mlflow_feedback", trace(assessment({"preference": "a"}), outputs={"a": "I.", "b": "We."}), {}),
    ],
)  # fmt: skip
def test_parse_damaged_label_record_gives_rows_or_user_error(
    name: str, record: Any, told: dict[str, Any]
) -> None:
    read_ones = 0
    for one in damaged(record):
        if not isinstance(one, dict):
            continue
        try:
            found: list[Record] = rows(name, lines(one), **told)
            read_ones += bool(found)
        except UserError as error:
            assert str(error).startswith("given.jsonl, line 1")
    assert read_ones > 0
