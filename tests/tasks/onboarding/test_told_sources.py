"""Sources of an earlier preset: their columns and fields hold where they fit the files."""

from __future__ import annotations

import csv
import json
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


def test_scan_folder_told_plain_splits_markdown_at_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "handbook.md").write_text(
        "# Flour\n\nIt is white.\n\nIt is dry.\n", encoding="utf-8"
    )
    (source,) = scan_folder(tmp_path / "mine", tmp_path).sources
    assert (source.format, source.document_unit, source.count("text")) == ("markdown", "file", 1)
    (source,) = _scan(tmp_path, files="mine/*.md", format="plain").sources
    assert (source.format, source.document_unit, source.count("text")) == ("plain", "paragraph", 3)


def test_scan_folder_told_plain_takes_no_rows_in_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    rows = "".join(f'{{"prompt": "Why {n}?", "completion": "So.", "ok": false}}\n' for n in range(9))
    (tmp_path / "mine" / "new.txt").write_text(rows, encoding="utf-8")
    found = _scan(tmp_path, files="mine/*.txt", format="plain")
    assert not found.sources and found.unreadable == ["mine/new.txt"]


def test_scan_folder_told_format_decides_between_several_that_fit(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    row = {"instruction": "Say one.", "output": "One.", "messages": turns}
    (tmp_path / "mine" / "both.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert scan_folder(tmp_path / "mine", tmp_path).unreadable == ["mine/both.jsonl"]
    found = _scan(tmp_path, files="mine/both.jsonl", format="messages")
    assert [source.format for source in found.sources] == ["messages"] and not found.unreadable
