"""Test that ingestion and its dry run count the same rows in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.versions.row_counts import describe_rows, rows_headline
from tasks.engine.parallel import serial_map
from tasks.ingest import ingest
from tasks.ingestion.row_making import make_rows
from tests.tasks.onboarding.test_source_preview import preset_of, shown


def test_describe_rows_counts_unreadable_rows_apart() -> None:
    assert describe_rows({"text": 1, "pairs": 2}, 1) == "1 text, 2 pairs, 1 row that cannot be read"
    assert describe_rows({}, 0) == "no rows"
    assert rows_headline({"text": 3, "unreadable_text": 1}) == "2 texts, 1 row that cannot be read"


def test_ingest_headline_is_the_line_of_the_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ['{"text": "A robin sings."}', "not JSON", '{"text": "says \\",\\"fault\\":\\"no"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    source = Source("mine", files=("a.jsonl",))
    made = make_rows(DataParameters((source,)), tmp_path, tmp_path / "out", print, serial_map)
    assert made.counts["text"] == 3 and made.unreadable == {"text": 1}
    says = rows_headline({**made.counts, "unreadable_text": made.unreadable["text"]})
    assert says == "2 texts, 1 row that cannot be read"
    assert ingest.declaration.headline({"text": 3, "unreadable_text": 1}) == says
    preset = preset_of({"name": "mine", "files": "a.jsonl"}, validate={"max_bad_fraction": 1.0})
    assert f"  {says}" in shown(preset, tmp_path).splitlines()
