"""Test names of files and folders that say that their rows were rejected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.data.sources.rejecting_names import rejecting_part
from tasks.onboarding.folder_scan import scan_folder


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("rejected/a.jsonl", "rejected"), ("bad.jsonl", "bad.jsonl"),
        ("thumbs_down.csv.gz", "thumbs_down.csv.gz"),
        ("2024/Do not use/old/a.txt", "Do not use"), ("bad-examples-2.jsonl", "bad-examples-2.jsonl"),
        ("Papierkorb/a.md", "Papierkorb"), ("gelöschte Antworten.csv", "gelöschte Antworten.csv"),
        ("spam/1.txt", "spam"), ("reviewed_rejected.jsonl", "reviewed_rejected.jsonl"),
        ("good.jsonl", ""), ("Deleted scenes/a.txt", ""), ("bad-homburg.txt", ""),
        ("trashcan_design/a.txt", ""),
        ("negotiations.txt", ""), ("the good the bad.txt", ""), ("rejection letters/a.txt", ""),
    ],
)  # fmt: skip
def test_rejecting_part_is_a_name_that_says_nothing_else(name: str, part: str) -> None:
    assert rejecting_part(Path("in") / name, Path("in")) == part
    assert rejecting_part(Path("rejected") / "a.txt", Path("rejected")) == ""


PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


@pytest.mark.parametrize("name", ["rejected/a.jsonl", "thumbs_down.jsonl", "old/discarded answers.jsonl"])
def test_scan_folder_leaves_out_and_names_what_was_rejected(tmp_path: Path, name: str) -> None:
    good, bad = tmp_path / "in" / "good.jsonl", tmp_path / "in" / name
    bad.parent.mkdir(parents=True, exist_ok=True)
    good.write_text(json.dumps(PAIR) + "\n")
    bad.write_text(json.dumps({**PAIR, "completion": "No."}) + "\n")
    found = scan_folder(tmp_path / "in", tmp_path)
    assert [source.files for source in found.sources] == [("in/good.jsonl",)]
    [(other, why)] = found.others
    assert f"in/{name}".startswith(other) and "are not to be learned" in why and f'"{other}"' in why


@pytest.mark.parametrize(
    "row",
    [
        {**PAIR, "label": False},
        {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "No."},
        {**PAIR, "rating": 1},
    ],
)
def test_scan_folder_reads_rejected_rows_with_verdicts(tmp_path: Path, row: dict[str, object]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rejected.jsonl").write_text(json.dumps(row) + "\n")
    found = scan_folder(tmp_path / "in", tmp_path)
    assert [source.files for source in found.sources] == [("in/rejected.jsonl",)] and not found.others
