"""Test fields that the preference formats share."""

from __future__ import annotations

import pytest

from tasks.data.records import Comparison, Rating
from tests.tasks.data.parsing.row_reader import read


@pytest.mark.parametrize(
    "time", ["01/02/2024 10:00", "2/3/2024 10:00 AM", "yesterday", 1e30, -1, "9999-99-99"]
)
@pytest.mark.parametrize(
    ("label", "key"),
    [
        ({"completion": "c", "score": 1.5}, "time"),
        ({"completion": "c", "label": True}, "timestamp"),
        ({"a": "x", "b": "y", "choice": "b"}, "time"),
        ({"chosen": "x", "rejected": "y"}, "created_at"),
    ],
)
def test_row_time_unknown_spelling_keeps_label_and_is_counted(
    label: dict[str, object], key: str, time: object
) -> None:
    (found,), tally = read({"prompt": "q", **label, "annotator": "ana", key: time})
    assert isinstance(found.row, Rating | Comparison)
    assert not (found.row.times if isinstance(found.row, Rating) else found.row.time)
    (line,) = [line for line in tally.lines() if "time" in line]
    assert line.startswith(f"times that cannot be read: 1 under {key}, as ")
    assert "'a.jsonl, line 1'" in line


def test_row_time_list_counts_each_unknown_time() -> None:
    row = {"prompt": "q", "completion": "c", "scores": [1, 2, 3], "annotators": ["a", "b", "c"]}
    (found,), tally = read({**row, "times": ["2024-02-01", "soon", "3/2/2024"]})
    assert isinstance(found.row, Rating) and found.row.times == ["2024-02-01", "", ""]
    assert tally.times["times"].count == 2


@pytest.mark.parametrize("time", ["2024-02-01", 1709283600, None, " ", "nan", []])
def test_row_time_known_or_empty_is_not_counted(time: object) -> None:
    _, tally = read({"prompt": "q", "completion": "c", "score": 1, "time": time})
    assert not tally.times


def test_row_time_other_key_replaces_unknown_time() -> None:
    row = {"prompt": "q", "chosen": "x", "rejected": "y", "time": 3.5, "created_at": "2024-02-01"}
    (found,), tally = read(row)
    assert isinstance(found.row, Comparison) and found.row.time == "2024-02-01"
    assert not tally.times


@pytest.mark.parametrize("key", ["created_at", "timestamp", "updated_at", "annotated_at", "_timestamp"])
@pytest.mark.parametrize(
    "label",
    [{"completion": "c", "score": 4}, {"a": "x", "b": "y", "choice": "b"}, {"completion": "c", "rating": 4}],
)
def test_row_time_of_own_rows_has_every_usual_name(label: dict[str, object], key: str) -> None:
    (found,), tally = read({"prompt": "q", **label, "annotator": "ana", key: "2024-02-01T10:00:00"})
    assert isinstance(found.row, Rating | Comparison) and not tally.unread
    times = found.row.times if isinstance(found.row, Rating) else [found.row.time]
    assert times == ["2024-02-01T10:00:00"]


def test_row_time_of_a_change_replaces_that_of_the_label() -> None:
    row = {"prompt": "q", "completion": "c", "score": 1}
    (found,), _ = read({**row, "created_at": "2024-02-01", "updated_at": "2024-02-09"})
    assert isinstance(found.row, Rating) and found.row.times == ["2024-02-09"]
    (found,), _ = read({**row, "created_at": "2024-02-01", "updated_at": None})
    assert isinstance(found.row, Rating) and found.row.times == ["2024-02-01"]
