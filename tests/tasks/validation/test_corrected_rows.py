"""Test that a corrected row keeps no value that was derived from the removed text."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tasks.data.records import TYPES, fault_row, read_shards
from tasks.validate import ValidateParameters, validate
from tasks.validation.corrected_rows import derive_again
from tasks.validation.quarantine import read_quarantine, release_rows
from tests.tasks.ingest_project import run, write

NOW = "2026-01-31T12:00:00+00:00"
PATH = "configs/admitted.jsonl"
TURNS = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}]


def ingested(root: Path, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that ingestion makes of the lines of a file."""
    root.mkdir(exist_ok=True)
    write(root, *lines)
    run(root)
    return [row for kind in TYPES for row in read_shards(root / "data" / kind)]


# Each: a line of a source, and the fields that a person corrects.
CORRECTIONS = [
    ({"prompt": "Why?", "completion": "[deleted]"}, {"completion": "So."}),
    ({"prompt": "[removed]", "completion": "So."}, {"prompt": "Why?"}),
    ({"prompt": "Why?", "completion": "x", "references": ["So.", "x", "y"]}, {"completion": "So."}),
    ({"prompt": "[removed]", "completion": "[deleted]"}, {"prompt": "Why?", "completion": "So."}),
    ({"prompt": "[removed]", "completion": "So.", "history": TURNS}, {"prompt": "Why?"}),
    (
        {"prompt": "Why?", "completion": "So.", "history": TURNS},
        {"history": [{"role": "user", "content": "Good day?"}, TURNS[1]]},
    ),
    ({"text": "a [deleted] tale"}, {"text": "a café tale"}),
    ({"prompt": "x", "a": "1", "b": "2", "choice": "a", "annotator": "ann"}, {"prompt": "Which?"}),
    ({"prompt": "x", "completion": "y", "scores": [1, 2]}, {"completion": "z"}),
    ({"prompt": "x", "completion": "y", "scores": [1], "history": TURNS}, {"completion": "z"}),
    ({"prompt": "x", "completion": "y", "group": "mine"}, {"prompt": "z"}),
]


@pytest.mark.parametrize(("line", "fixed"), CORRECTIONS)
def test_derive_again_corrected_row_equals_row_of_corrected_source(
    tmp_path: Path, line: dict[str, Any], fixed: dict[str, Any]
) -> None:
    (before,) = ingested(tmp_path / "before", line)
    given = {**line, **fixed}
    # A list of answers that the user wrote has the corrected answer in place of the former one.
    if "references" in line:
        given["references"] = ["So.", "y"]
    (wanted,) = ingested(tmp_path / "after", given)
    found = derive_again(before, {**before, **fixed})
    assert found == {**wanted, "id": before["id"]}
    assert derive_again(before, found) == found


def test_derive_again_value_that_person_changed_stays(tmp_path: Path) -> None:
    (before,) = ingested(tmp_path, {"prompt": "Why?", "completion": "[deleted]"})
    own = {**before, "prompt": "How?", "completion": "So.", "references": ["So.", "[deleted]"], "group": "g"}
    assert derive_again(before, own) == own
    assert derive_again(before, before) == before


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("text", {"text": "a tale"}),
        ("pairs", {"prompt": "Why?", "completion": "So."}),
        ("comparisons", {"prompt": "Why?", "a": "x", "b": "y", "choice": "a", "aspect": "tone"}),
        ("ratings", {"prompt": "Why?", "completion": "So.", "scores": [1.0], "annotators": ["a"]}),
    ],
)
def test_derive_again_row_of_unreadable_one_gets_group_of_its_text(
    tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    before = asdict(fault_row(kind, "mine", "a.jsonl, line 3", "broken JSON"))
    after = {**before, **fields, "fault": ""}
    (twin,) = ingested(tmp_path, {**fields, **({"annotator": "a"} if kind == "comparisons" else {})})
    found = derive_again(before, after)
    assert found["group"] == twin["group"] != before["group"]
    if kind == "pairs":
        assert found["references"] == ["So."]


def test_release_rows_second_correction_leaves_nothing_of_first(tmp_path: Path) -> None:
    write(tmp_path, {"prompt": "Why?", "completion": "[deleted]"}, *(
        {"prompt": f"Question {number}?", "completion": f"Answer {number}."} for number in range(20)
    ))  # fmt: skip
    for said in ("a \x07 bell", "So."):
        check(tmp_path)
        (aside,) = read_quarantine(tmp_path)
        edited = tmp_path / "edited.jsonl"
        edited.write_text(aside.line.replace(json.dumps(aside.row["completion"]), json.dumps(said), 1) + "\n")
        release_rows(tmp_path, PATH, [], "Ann", "fixed", NOW, edited)
    good = check(tmp_path)
    (row,) = [row for row in good if row["prompt"] == "Why?"]
    assert (row["completion"], row["references"]) == ("So.", ["So."])
    assert list(read_quarantine(tmp_path)) == []


def test_validate_recorded_correction_with_former_answer_is_derived_again(tmp_path: Path) -> None:
    write(tmp_path, {"prompt": "Why?", "completion": "[deleted]"}, *(
        {"prompt": f"Question {number}?", "completion": f"Answer {number}."} for number in range(20)
    ))  # fmt: skip
    check(tmp_path)
    (aside,) = read_quarantine(tmp_path)
    row = {**aside.row, "completion": "So."}
    line = {"id": aside.id, "by": "ann", "why": "fixed", "time": NOW, "row": row}
    (tmp_path / "configs").mkdir()
    (tmp_path / PATH).write_text(json.dumps(line) + "\n")
    assert ["So."] in [row["references"] for row in check(tmp_path)]


def check(root: Path) -> list[dict[str, Any]]:
    """Ingest and validate the project, and return the accepted pairs."""
    run(root)
    out = root / "checked"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    validate(
        ValidateParameters(max_bad_fraction=0.5),
        ingest=root / "out",
        out=out,
        on_event=lambda _: None,
        root=root,
    )
    return list(read_shards(out / "rows" / "pairs"))
