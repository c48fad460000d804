"""Test which labels are new since the last notification."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flows import deployments
from flows.config import load_preset
from tasks.data.labels.new_labels import known_labels
from tasks.data.records import rating_row
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.validate import validate
from tasks.validation.quarantine import read_quarantine, release_rows
from tests.tasks.record_files import write_rows


def lay(rows: Path, *people: str) -> None:
    for kind in ("comparisons", "ratings"):
        (rows / kind).mkdir(parents=True, exist_ok=True)
    """Write a rating for each word; a plus in a word joins several annotators."""
    ratings = [
        rating_row("the film", f" is {place}", [1.0] * len(who.split("+")), who.split("+"), "tone", "s", "g")
        for place, who in enumerate(people)
    ]
    write_rows(rows / "ratings" / "00000.jsonl", ratings)


def test_find_new_labels_remembered_labels_are_not_repeated(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann", "ben")
    known = known_labels(tmp_path, "a/preset")
    came = known.find_new_labels(tmp_path / "rows", "first")
    assert came.rows == {"comparisons": 0, "ratings": 2} and came.annotators == {"ann": 1, "ben": 1}
    known.remember_labels(tmp_path / "rows", "first", "data-1")

    again = known_labels(tmp_path, "a/preset")
    assert again.data == "data-1" and not again.find_new_labels(tmp_path / "rows", "first")
    lay(tmp_path / "rows", "ann", "ben", "cay")
    assert again.find_new_labels(tmp_path / "rows", "second").annotators == {"cay": 1}
    # Each preset has its own record, and a broken record counts as empty.
    assert known_labels(tmp_path, "other").find_new_labels(tmp_path / "rows", "second").rows["ratings"] == 3
    again.path.write_bytes(b"half")
    assert (
        known_labels(tmp_path, "a/preset").find_new_labels(tmp_path / "rows", "second").rows["ratings"] == 3
    )


def test_remember_waiting_few_labels_stay_new(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann", "ben")
    known = known_labels(tmp_path, "demo")
    known.remember_labels(tmp_path / "rows", "first", "data-1")
    lay(tmp_path / "rows", "ann", "ben", "cay+ann")
    came = known.find_new_labels(tmp_path / "rows", "second")
    assert came.count == 2 and came.rows["ratings"] == 1
    known.remember_waiting("second", "data-2", came.count)

    again = known_labels(tmp_path, "demo")
    assert again.find_new_labels(tmp_path / "rows", "second").count == 2
    # Nothing is left to do about these rows as long as so few labels are not enough.
    assert again.is_handled("second", "data-2", 3) and not again.is_handled("second", "data-2", 2)
    assert again.is_handled("first", "data-1", 3) and not again.is_handled("third", "data-3", 3)
    again.remember_labels(tmp_path / "rows", "second", "data-2")
    assert not known_labels(tmp_path, "demo").find_new_labels(tmp_path / "rows", "second")
    assert known_labels(tmp_path, "demo").waiting.count == 0


def test_known_labels_file_of_earlier_version_is_read(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann")
    known = known_labels(tmp_path, "demo")
    known.remember_labels(tmp_path / "rows", "first", "data-1")
    with np.load(known.path) as found:
        kept = {name: found[name] for name in ("digest", "data", "labels")}
    np.savez(known.path, **kept)
    assert known_labels(tmp_path, "demo").data == "data-1"


def test_find_new_labels_removed_labels_are_not_new(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann", "ben")
    known = known_labels(tmp_path, "demo")
    known.remember_labels(tmp_path / "rows", "first", "data-1")
    lay(tmp_path / "rows", "ann")
    assert not known.find_new_labels(tmp_path / "rows", "second")


def test_find_new_labels_lost_score_is_not_new_added_score_is(tmp_path: Path) -> None:
    lay(tmp_path / "rows", "ann+ben", "ben")
    known = known_labels(tmp_path, "demo")
    known.remember_labels(tmp_path / "rows", "first", "data-1")
    lay(tmp_path / "rows", "ben", "ben")
    assert not known.find_new_labels(tmp_path / "rows", "second")
    lay(tmp_path / "rows", "ann+ben", "ben+cay")
    came = known.find_new_labels(tmp_path / "rows", "third")
    assert came.rows["ratings"] == 1 and came.annotators == {"cay": 1}


def test_notified_hash_admitted_row_resets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    label = {"prompt": "What is old?", "a": "The mill.", "b": "Us?", "choice": "a", "annotator": "ann"}
    rows = [{"text": "The mill is old."}, label, {**label, "a": "The \u0000 mill."}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    preset = load_preset(
        {
            "name": "mine",
            "data": {"sources": [{"name": "s", "files": "a.jsonl"}]},
            "validate": {"max_bad_fraction": 0.5},
        }
    )
    context = StageContext(tmp_path, preset.seed)

    def made() -> str:
        data = ingest.run(preset.data, {}, context, print)
        good = validate.run(preset.validation_parameters(), {"ingest": data}, context, print)
        folder, version = Path(good.path) / "rows", str(data.metrics["data_hash"])
        known = known_labels(tmp_path, "mine")
        came = known.find_new_labels(folder, good.digest)
        known.remember_labels(folder, good.digest, version)
        assert came.rows["comparisons"] == 1
        return version

    version = made()
    assert deployments._notified_hash(preset) == version
    (row,) = read_quarantine(tmp_path)
    release_rows(
        tmp_path, preset.validation.overrides_file, [row.id], "max", "meant", "2026-01-31T12:00:00+00:00"
    )
    assert deployments._notified_hash(preset) == ""
    assert made() == version and deployments._notified_hash(preset) == version


@pytest.mark.parametrize("name", ["ж" * 400, "a/b", "..", "it's", "x" * 255, "a.b"])
def test_known_labels_preset_of_any_name_is_remembered(tmp_path, name):
    (tmp_path / "good").mkdir()
    known_labels(tmp_path, name).remember_labels(tmp_path / "good", "first", "data")
    assert known_labels(tmp_path, name).data == "data" and known_labels(tmp_path, name + "x").data == ""
