"""Sources of an earlier preset: their columns and fields hold where they fit the files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tasks.data.records import Comparison, Pair
from tasks.data.sources.source_types import Source
from tasks.onboarding.folder_scan import FolderScan, scan_folder

_VOTES = {name: {"first": "a", "second": "b"} for name in ("Maria", "Jonas")}


def _write_table(path: Path, head: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(head)
        writer.writerows(rows)


def _scan(root: Path, **source: Any) -> FolderScan:
    return scan_folder(root / "mine", root, [Source("mine", **source)])


@pytest.mark.parametrize("files", ["mine/support tickets.csv", "mine", "mine/*.csv"])
@pytest.mark.parametrize("format", ["rows", "auto"])
def test_scan_folder_told_columns_are_read(tmp_path: Path, files: str, format: str) -> None:
    rows = [[f"T-{n}", f"Why is loaf {n} flat?", f"It rested for {n} hours too long."] for n in range(9)]
    _write_table(tmp_path / "mine" / "support tickets.csv", ["Ticket", "Guest wrote", "We wrote"], rows)
    assert scan_folder(tmp_path / "mine", tmp_path).unreadable
    found = _scan(
        tmp_path, files=files, format=format, columns={"prompt": "Guest wrote", "completion": "We wrote"}
    )
    (source,) = found.sources
    assert source.told and not found.unreadable
    assert source.columns == {"prompt": "Guest wrote", "completion": "We wrote"}
    assert [row.prompt for row in source.rows if isinstance(row, Pair)] == [row[1] for row in rows]


def test_scan_folder_told_votes_are_comparisons(tmp_path: Path) -> None:
    rows = [[f"Why {n}?", f"As {n}.", f"Not {n}.", "first", "second" if n % 2 else "same"] for n in range(9)]
    _write_table(tmp_path / "mine" / "votes.csv", ["Asked", "One", "Two", "Maria", "Jonas"], rows)
    columns = {"prompt": "Asked", "a": "One", "b": "Two"}
    (source,) = _scan(tmp_path, files="mine/votes.csv", format="rows", columns=columns, fields=_VOTES).sources
    assert source.fields == _VOTES and not source.stop
    people = {row.annotator for row in source.rows if isinstance(row, Comparison)}
    assert (source.count("comparisons"), people) == (18, {"Maria", "Jonas"})


@pytest.mark.parametrize(
    "columns", [{"prompt": "Guest wrote", "completion": "We wrote"}, {"prompt": "gone"}, {"text": "Question"}]
)
def test_scan_folder_told_columns_of_another_file_are_guessed(
    tmp_path: Path, columns: dict[str, str]
) -> None:
    rows = [[f"Why is loaf {n} flat?", f"It rested for {n} hours."] for n in range(9)]
    _write_table(tmp_path / "mine" / "pairs.csv", ["question", "answer"], rows)
    (source,) = _scan(tmp_path, files="mine/pairs.csv", columns=columns).sources
    assert (source.told, source.count("pairs")) == (False, 9)


def test_scan_folder_told_files_that_are_gone_are_no_error(tmp_path: Path) -> None:
    _write_table(tmp_path / "mine" / "pairs.csv", ["question", "answer"], [["Why?", "So."]])
    found = _scan(tmp_path, files=("mine/old.csv", "elsewhere"), columns={"prompt": "q"})
    assert [source.told for source in found.sources] == [False]
