"""Test what the keys beside a labelled item say of it, in exports of Label Studio and Argilla."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Rating
from tests.tasks.data.formats.export_reader import lines

RATED = """<View><Text name="prompt" value="$prompt"/><Text name="reply" value="$reply"/>
<Rating name="stars" toName="reply"/></View>"""


def task(n: int, data: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Return a task of Label Studio with a rating."""
    told = {"from_name": "stars", "to_name": "reply", "type": "rating", "value": {"rating": 1 + n % 5}}
    annotation = {"id": n, "completed_by": 7, "result": [told], "created_at": "2026-03-01T10:00:00Z"}
    texts = {"prompt": f"Who runs mill {n}?", "reply": f"Miller {n}.", "system": "Be short."}
    return {"id": n, "data": texts | data, "meta": meta, "annotations": [annotation]}


def record(n: int, data: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Return a record of Argilla's server with a rating."""
    response = {"user_id": "ann", "status": "submitted", "values": {"stars": {"value": 1 + n % 5}}}
    texts = {"prompt": f"Who runs mill {n}?", "reply": f"Miller {n}."}
    return {"id": f"r{n}", "fields": texts | data, "metadata": meta, "responses": [response]}


def read(format: str, key: str, values: list[Any], **told: Any) -> tuple[list[Any], SkipCounts]:
    """Read 24 labelled items that have a key with the values in turn."""
    outer, _, inner = key.rpartition(".")
    make = task if format == "label_studio" else record
    held = [{inner: values[n % len(values)]} for n in range(24)]
    items = [make(n, {}, one) if outer else make(n, one, {}) for n, one in enumerate(held)]
    tally = SkipCounts()
    labelling = RATED if format == "label_studio" else ""
    options = ParseOptions("mine", labelling=labelling, columns={"completion": "reply"}, **told)
    found = read_rows(find_format(format), [lines(*items)], options, tally)
    return [one.row for one in found], tally


META = {"label_studio": "meta", "argilla": "metadata"}


@pytest.mark.parametrize("format", list(META))
@pytest.mark.parametrize("outer", ["", "meta"])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("state", ["rejected", "new"]),
        ("Los", ["V", ""]),
        ("quality", ["bad", "good"]),
        ("zorp", [True, False]),
    ],
)
def test_labelled_item_key_that_may_judge_is_asked_about(
    format: str, outer: str, key: str, values: list[Any]
) -> None:
    path = f"{META[format]}.{key}" if outer else key
    found, tally = read(format, path, values)
    assert found
    with pytest.raises(UserError, match=key):
        tally.check("mine")
    found, tally = read(format, path, values, fields={path: "ignore"})
    tally.check("mine", {path: "ignore"})
    assert len(found) == 24 and {type(row) for row in found} == {Rating}


@pytest.mark.parametrize("format", list(META))
@pytest.mark.parametrize(
    ("key", "values", "fields"),
    [
        ("deleted", [True, False, False], {}), ("train", [0, 1, 1], {}),
        ("review_result", ["reject", "accept", "accept"], {}),
        ("state", ["rejected", "new", "new"], {"state": {"rejected": "reject", "new": "accept"}}),
        ("Los", ["V", "", ""], {"Los": {"V": "ignore", "": "accept"}}),
    ],
)  # fmt: skip
def test_labelled_item_that_is_taken_out_has_no_labels(
    format: str, key: str, values: list[Any], fields: dict[str, Any]
) -> None:
    found, tally = read(format, key, values, fields=fields)
    tally.check("mine", fields)
    assert len(found) == 16 and sum(tally.left_out.values()) == 8


@pytest.mark.parametrize("format", list(META))
@pytest.mark.parametrize("meaning", ["verdict", "vote", {"V": 1, "": -1}])
def test_labelled_item_key_as_verdict_is_refused(format: str, meaning: Any) -> None:
    found, tally = read(format, "Los", ["V", ""], fields={"Los": meaning})
    assert not [row for row in found if isinstance(row, Rating) and not row.fault]
    assert "only its labels judge an item" in tally.first_fault


@pytest.mark.parametrize("format", list(META))
@pytest.mark.parametrize(
    ("key", "values"), [("topic", ["mills", "mines"]), ("page", [1, 2]), ("zorp", ["same"])]
)
def test_labelled_item_key_that_describes_it_is_listed(format: str, key: str, values: list[Any]) -> None:
    found, tally = read(format, key, values)
    tally.check("mine")
    assert len(found) == 24 and any(key in line for line in tally.lines())
