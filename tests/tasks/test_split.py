"""Test the stage `split`: shares, groups that stay together, and shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from model.errors import UserError
from tasks.data.records import TYPES, text_row
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.splits import SPLITS, SplitParameters
from tasks.engine.parallel import serial_map
from tasks.ingestion.row_making import make_rows
from tasks.split import ANSWERS_AS_TEXT, split
from tests.tasks.event_sink import ignore_event
from tests.tasks.record_files import read_rows, write_rows
from tests.tasks.smoke_data import smoke_rows


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split the smoke data."""
    root = tmp_path_factory.mktemp("split")
    rows = smoke_rows()
    for kind, record in TYPES.items():
        chosen = sorted((row for row in rows if isinstance(row, record)), key=lambda row: row.id)
        for number, start in enumerate(range(0, max(1, len(chosen)), 500)):
            write_rows(root / "in" / "rows" / kind / f"{number:05}.jsonl", chosen[start : start + 500])
    split(SplitParameters(0.1, 0.1), validate=root / "in", out=root / "out", on_event=ignore_event)
    return root / "out"


def groups(parts: Path, name: str) -> set[str]:
    return {row.group for kind in TYPES for row in read_rows(parts / name / kind, kind)}


def test_split_group_is_in_one_split_only(parts: Path) -> None:
    found = {name: groups(parts, name) for name in SPLITS}
    assert all(found.values())
    assert not found["train"] & found["valid"]
    assert not found["train"] & found["test"]
    assert not found["valid"] & found["test"]


def test_split_pair_and_rating_stay_together(parts: Path) -> None:
    for name in SPLITS:
        pairs = {row.prompt + row.completion for row in read_rows(parts / name / "pairs", "pairs")}
        ratings = {row.prompt + row.completion for row in read_rows(parts / name / "ratings", "ratings")}
        assert ratings <= pairs


def test_split_without_train_text_is_refused(tmp_path: Path) -> None:
    for kind in TYPES:
        rows = [text_row("alone", "film")] if kind == "text" else []
        write_rows(tmp_path / "rows" / kind / "00000.jsonl", rows)
    with pytest.raises(UserError, match="the only text does not fall into the"):
        split(SplitParameters(), validate=tmp_path, out=tmp_path / "out", on_event=ignore_event)


def test_split_without_text_is_accepted_where_none_is_required(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows" / "text" / "00000.jsonl", [])
    rows = [row for row in smoke_rows() if isinstance(row, TYPES["pairs"])]
    write_rows(tmp_path / "rows" / "pairs" / "00000.jsonl", rows)
    parameters = SplitParameters(0.1, 0.1, text_required=False)
    counts = split(parameters, validate=tmp_path, out=tmp_path / "out", on_event=ignore_event)
    assert counts["train_text"] == 0 and counts["train_pairs"] > 100
    assert all((tmp_path / "out" / name / "text").is_dir() for name in SPLITS)


def test_split_shards_keep_their_numbers(parts: Path) -> None:
    before = parts.parent / "in" / "rows"
    for kind in TYPES:
        numbers = sorted(path.name for path in (before / kind).iterdir())
        lines = sorted(line for path in (before / kind).iterdir() for line in path.open())
        divided = []
        for name in SPLITS:
            assert sorted(path.name for path in (parts / name / kind).iterdir()) == numbers
            divided += [line for path in (parts / name / kind).iterdir() for line in path.open()]
        assert sorted(divided) == lines
    assert len(list((before / "ratings").iterdir())) > 1


def test_advised_source_reads_the_answers_of_pairs_as_texts(tmp_path: Path) -> None:
    """The source that the refusal of a project without text names is read as it says."""
    line = ANSWERS_AS_TEXT.partition(": - ")[2]
    source = yaml.safe_load(line) | {"files": "pairs.jsonl"}
    pairs = ({"prompt": f"What {n}?", "completion": f"The wheel number {n} turns."} for n in range(3))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    parameters = DataParameters((Source(**source),))
    rows = make_rows(parameters, tmp_path, tmp_path / "out", ignore_event, serial_map)
    assert rows.counts == {"text": 3, "pairs": 0, "comparisons": 0, "ratings": 0}
