"""Test that the examples of a broken rule are the first in the order of the sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tasks.common.names import source_rank
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.parallel import serial_map
from tasks.validate import ValidateParameters, check_rows
from tasks.validation.row_loss import accepted_rows
from tasks.validation.shard_validation import source_order
from tests.tasks.ingest_project import run


def first_examples(root: Path, *sources: Source) -> list[str]:
    run(root, DataParameters(sources))
    out = root / "checked"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    findings, stops = check_rows(
        ValidateParameters(source_order=tuple(source.name for source in sources)),
        root / "out",
        out,
        lambda _: None,
        root,
        serial_map,
        accepted_rows(root),
    )
    assert stops
    (summary,) = findings.table()
    assert summary.rule == "completion was not removed"
    return [example.partition(":")[0] for example in summary.examples]


def pairs(count: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"prompt": f"Extra {n} question", "completion": "[deleted]" if n % 4 == 1 else f"Answer {n}."}
        for n in range(start, start + count)
    ]


def lay(path: Path, count: int, start: int = 0) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(count, start)))


def test_validate_examples_are_first_lines(tmp_path: Path) -> None:
    lay(tmp_path / "s.jsonl", 120)
    found = first_examples(tmp_path, Source("x", "rows", files="s.jsonl"))
    assert found == [f"s.jsonl, line {line}" for line in (2, 6, 10)]


def test_validate_examples_are_of_first_file(tmp_path: Path) -> None:
    lay(tmp_path / "all" / "b.jsonl", 40)
    lay(tmp_path / "all" / "a.jsonl", 8, 1000)
    found = first_examples(tmp_path, Source("x", "rows", files="all/*.jsonl"))
    assert found == ["all/a.jsonl, line 2", "all/a.jsonl, line 6", "all/b.jsonl, line 2"]


def test_validate_examples_of_two_sources_are_not_repeated(tmp_path: Path) -> None:
    lay(tmp_path / "a.jsonl", 2)
    lay(tmp_path / "b.jsonl", 2, 1000)
    sources = [Source(name, "rows", files=f"{name}.jsonl") for name in "ab"]
    assert first_examples(tmp_path, *sources) == ["a.jsonl, line 2", "b.jsonl, line 2"]


@pytest.mark.parametrize("names", ["ab", "ba", "zam", "mza"])
def test_validate_examples_are_in_the_order_of_the_preset(tmp_path: Path, names: str) -> None:
    for number, name in enumerate(sorted(names)):
        lay(tmp_path / f"{name}.jsonl", 2, 1000 * number)
    sources = [Source(name, "rows", files=f"{name}.jsonl") for name in names]
    assert first_examples(tmp_path, *sources) == [f"{name}.jsonl, line 2" for name in names]


def test_source_rank_unlisted_source_comes_last_by_name() -> None:
    assert sorted("czab", key=lambda name: source_rank(name, ("z", "c"))) == ["z", "c", "a", "b"]


def test_validate_examples_of_list_are_first_items(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps(pairs(60)))
    found = first_examples(tmp_path, Source("x", "rows", files="s.json"))
    assert [int(place.rpartition(" ")[2]) for place in found] == [2, 6, 10]


@pytest.mark.parametrize(
    "places",
    [
        ["a.jsonl, line 2", "a.jsonl, line 10", "b.jsonl, line 1"],
        ["a.csv, row 9", "a.csv, row 1,000", "a.csv, row 1,001"],
        ["a.txt", "b.json, item 2, turn 3", "b.json, item 2, turn 11", "b.json, item 10"],
        ["", "notes, old 3.txt, line 4"],
    ],
)
def test_source_order_sorts_places_as_they_are_read(places: list[str]) -> None:
    assert sorted(reversed(places), key=source_order) == places
