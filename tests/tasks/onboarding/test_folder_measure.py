"""Test the split that is chosen for a folder's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.data.splits import SPLITS, split_of
from tasks.data.withdrawals import Withdrawal, write_withdrawals
from tasks.onboarding.folder_measure import choose_split
from tasks.onboarding.folder_scan import FolderScan, scan_folder
from tests.example_project import write_jsonl


def compared(number: int, annotator: str) -> dict[str, Any]:
    row = {"prompt": f"Which mill is {number}?", "a": f"The mill {number}.", "b": f"The stone {number}."}
    return {**row, "choice": "a", "annotator": annotator}


def scan(root: Path, *rows: dict[str, Any]) -> FolderScan:
    folder = root / "mine"
    folder.mkdir()
    words = " ".join(["A mill turns slowly beside the river."] * 4)
    (folder / "text.txt").write_text("\n\n".join(f"{words} {number}" for number in range(300)))
    write_jsonl(folder / "rows.jsonl", *rows)
    return scan_folder(folder, root)


def splits_with(found: FolderScan, kind: str) -> set[str]:
    split = choose_split(found)
    return {split_of(row.group, split) for row in found.of(kind)}


def test_choose_split_kind_of_one_group_does_not_cost_others_theirs(tmp_path: Path) -> None:
    rated = {"prompt": "Rate a mill.", "completion": "A mill.", "score": 1}
    found = scan(tmp_path, *[compared(n, "ana") for n in range(6)], rated)
    assert splits_with(found, "comparisons") == set(SPLITS) and len(found.of("ratings")) == 1


def test_choose_split_holds_out_what_withdrawals_leave(tmp_path: Path) -> None:
    write_withdrawals(tmp_path, [Withdrawal("x", "y", "2026-03-01T10:00:00+00:00", annotator="ana")])
    found = scan(tmp_path, *[compared(n, "ana" if n < 48 else "ben") for n in range(54)])
    assert len(found.of("comparisons")) == 6
    assert splits_with(found, "comparisons") == set(SPLITS)
