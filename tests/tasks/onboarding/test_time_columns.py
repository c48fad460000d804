"""The column that `init` takes for the time of each label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.data.records import Comparison, Rating
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.preset_writer import _source_section
from tasks.onboarding.source_proposal import Proposal
from tests.example_project import write_jsonl

ISO = "2024-05-{:02d}T10:00:00Z"


def rated(number: int) -> dict[str, Any]:
    pair = {"prompt": f"What is {number}?", "completion": f"It is {number}."}
    return {**pair, "vote": ["up", "down"][number % 2], "annotator": ["ann", "ben"][number % 2]}


def compared(number: int) -> dict[str, Any]:
    sides = {"prompt": f"What is {number}?", "a": f"It is {number}.", "b": f"It was {number}."}
    return {**sides, "choice": "ab"[number % 2], "annotator": ["ann", "ben"][number % 2]}


def scan(folder: Path, rows: list[dict[str, Any]]) -> Proposal:
    write_jsonl(folder / "own.jsonl", *rows)
    (source,) = scan_folder(folder, folder).sources
    return source


def times_of(source: Proposal) -> set[str]:
    return {
        time
        for row in source.rows
        if isinstance(row, Comparison | Rating)
        for time in ([row.time] if isinstance(row, Comparison) else row.times)
    }


@pytest.mark.parametrize("make", [rated, compared])
@pytest.mark.parametrize(
    ("name", "values", "first"),
    [
        ("Datum", [ISO.format(n) for n in range(1, 21)], "2024-05-01T10:00:00Z"),
        ("fecha", [f"2023-11-{n:02d}" for n in range(1, 21)], "2023-11-01"),
        ("created", [1_700_000_000 + n for n in range(20)], "2023-11-14T22:13:20+00:00"),
        ("submitted at (ms)", [1_700_000_000_000 + n for n in range(20)], "2023-11-14T22:13:20+00:00"),
        # The values decide, whatever the name is.
        ("x1", [ISO.format(n) for n in range(1, 18)] + ["", "", ""], "2024-05-01T10:00:00Z"),
    ],
)
def test_scan_folder_column_of_times_is_the_time_of_the_labels(
    tmp_path: Path, make: Any, name: str, values: list[Any], first: str
) -> None:
    source = scan(tmp_path, [{**make(n), name: value} for n, value in enumerate(values)])
    assert source.columns["time"] == name and first in times_of(source)
    reason = source.reasons["time"]
    assert reason.startswith(f"{name} is taken for the time of each label") and repr(values[0]) in reason
    text = "\n".join(_source_section(source))
    assert "is taken for the time of each label" in text and "time: " in text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("birthday", [f"1990-11-{n:02d}" for n in range(1, 21)]),
        ("published", [ISO.format(n) for n in range(1, 21)]),
        # An identifier may be as large as seconds since 1970.
        ("article number", [1_700_000_000 + n for n in range(20)]),
        ("created", [12 + n for n in range(20)]),
        # In this spelling the day and the month are not clear.
        ("Datum", [f"{n:02d}/05/2024" for n in range(1, 21)]),
        ("Datum", [ISO.format(n) for n in range(1, 20)] + ["yesterday"]),
        ("Datum", [ISO.format(n) for n in range(1, 11)] + [""] * 10),
    ],
)
def test_scan_folder_other_column_is_no_time(tmp_path: Path, name: str, values: list[Any]) -> None:
    source = scan(tmp_path, [{**rated(n), name: value} for n, value in enumerate(values)])
    assert "time" not in source.columns and not source.reasons


def test_scan_folder_several_columns_of_times_are_asked_about(tmp_path: Path) -> None:
    rows = [{**rated(n), "x1": ISO.format(n + 1), "x2": ISO.format(n + 2)} for n in range(20)]
    source = scan(tmp_path / "a", rows)
    assert "time" not in source.columns
    assert source.reasons["time"].startswith(
        "Which column has the time of each label: x1 or x2? None is used"
    )
    # A name for a time decides between them.
    source = scan(tmp_path / "b", [{**row, "Zeitpunkt": ISO.format(9)} for row in rows])
    assert source.columns["time"] == "Zeitpunkt"


def test_scan_folder_labels_with_a_time_and_pairs_keep_their_columns(tmp_path: Path) -> None:
    rows = [{**rated(n), "time": ISO.format(n + 1), "Datum": ISO.format(n + 2)} for n in range(20)]
    assert "time" not in scan(tmp_path / "a", rows).columns
    pairs = [
        {"prompt": f"What is {n}?", "completion": f"It is {n}.", "Datum": ISO.format(n + 1)}
        for n in range(20)
    ]
    source = scan(tmp_path / "b", pairs)
    assert "time" not in source.columns and not source.reasons
