"""Test repeated labels: one person's label of the same answers counts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.events import Event, Message
from tasks.common.counts import counted
from tasks.data.labels.ratings import whole_ratings
from tasks.data.records import TYPES, Rating, rating_row, read_shards
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.withdrawals import Withdrawal, Withdrawn, write_withdrawals
from tasks.ingestion.repeated_labels import keep_each_once
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.source_preview import dry_run
from tasks.validate import ValidateParameters
from tests.tasks.data.parsing.row_reader import read
from tests.tasks.record_files import write_rows

OLD, NEW = "2026-01-01T10:00:00", "2026-02-01T10:00:00"


def rating(score: Any, who: str = "ana", **more: Any) -> dict[str, Any]:
    return {"prompt": "p", "completion": "c", "score": score, "annotator": who, **more}


def choice(said: str, who: str = "ana", a: str = "x", b: str = "y", **more: Any) -> dict[str, Any]:
    return {"prompt": "p", "a": a, "b": b, "choice": said, "annotator": who, **more}


def ingested(root: Path, *files: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows that a run would use, and its messages."""
    for number, rows in enumerate(files):
        path = root / "mine" / f"{number}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Message):
            said.append(event.text)

    parameters = DataParameters((Source("mine", files="mine/*.jsonl"),))
    with dry_run(parameters, ValidateParameters(max_bad_fraction=1.0), root, on_event) as found:
        assert found.rows
        rows = [row for kind in TYPES for row in read_shards(found.folder / "ingest" / "rows" / kind)]
        assert sum(found.rows.counts.values()) == len(rows)
        origins = found.folder / "ingest" / "origins"
        assert sum(len(path.read_text().splitlines()) for path in origins.rglob("*.jsonl")) == len(rows)
    return rows, said


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([rating(4), rating(5)], [4.0]), ([rating(4, time=OLD), rating(5, time=NEW)], [5.0]),
        ([rating(4, time=NEW), rating(5, time=OLD)], [4.0]), ([rating(3), rating(0)], [3.0]),
        ([rating(-1), rating(-2), rating(-3, time=OLD)], [-3.0]),
        ([rating(4), rating(-5)], [-5.0, 4.0]), ([rating(4), rating(5, "ben")], [4.0, 5.0]),
        ([rating(4), rating(5, aspect="tone")], [4.0, 5.0]), ([rating(4, ""), rating(5, "")], [4.0, 5.0]),
        ([*[rating(n + 1, f"p{n}") for n in range(3)], rating(2, "p0")], [1.0, 2.0, 3.0]),
    ],
)  # fmt: skip
def test_dry_run_repeated_rating_of_person_counts_once(
    tmp_path: Path, labels: list[dict[str, Any]], scores: list[float]
) -> None:
    rows, said = ingested(tmp_path, labels)
    assert sorted(row["scores"][0] for row in rows) == scores
    dropped = len(labels) - len(scores)
    told = f"by the same person, of which the newest or first is kept: {counted(dropped, 'ratings')}"
    assert any(told in line for line in said) == bool(dropped)


def test_dry_run_first_rating_in_files_is_kept(tmp_path: Path) -> None:
    many = [[rating(1 + (n + line) % 5, completion=f"c{n}") for n in range(12)] for line in range(3)]
    rows, _ = ingested(tmp_path, [row for part in many for row in part], [rating(5, completion="c0")])
    assert {row["completion"]: row["scores"] for row in rows} == {f"c{n}": [1.0 + n % 5] for n in range(12)}


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        ([choice("a"), choice("b", a="y", b="x")], 1), ([choice("tie"), choice("tie", a="y", b="x")], 1),
        ([choice("a"), choice("a", a="y", b="x")], 2), ([choice("a"), choice("b", "ben", a="y", b="x")], 2),
        ([choice("a", time=OLD), choice("a", time=NEW)], 1),
    ],
)  # fmt: skip
def test_dry_run_repeated_comparison_of_person_counts_once(
    tmp_path: Path, labels: list[dict[str, Any]], count: int
) -> None:
    rows, _ = ingested(tmp_path, labels)
    assert len(rows) == count


def test_whole_ratings_person_counts_once_among_many(tmp_path: Path) -> None:
    rows = [
        rating_row("p", "c", [4, 2], ["ana", "ben"], "tone", "s", "g", (), [OLD, OLD]),
        rating_row("p", "c", [5, 1], ["ana", "unknown-0"], "tone", "s", "g", (), [NEW, ""]),
        rating_row("p", "d", [3, 4, 1, 1], ["eve", "eve", "unknown", "unknown"], "tone", "s", "h"),
    ]
    write_rows(tmp_path / "ratings" / "00000.jsonl", rows)
    found = {row.completion: dict(zip(row.annotators, row.scores, strict=True)) for row in whole_ratings(
        tmp_path / "ratings"
    )}  # fmt: skip
    assert found["c"] == {"ana": 5, "ben": 2, "unknown-0": 1} and found["d"]["eve"] == 3
    assert sorted(len(row.scores) for row in whole_ratings(tmp_path / "ratings")) == [3, 3]


def test_scan_folder_counts_rows_that_ingest_keeps(tmp_path: Path) -> None:
    pairs = [{"prompt": f"q{n % 7}", "completion": f"a{n % 7}"} for n in range(20)]
    votes = [{"prompt": "p", "a": "x", "b": "y", "choice": "a"}] * 3
    texts = [{"text": f"t{n % 4}"} for n in range(9)]
    write_withdrawals(tmp_path, [Withdrawal("max", "why", NEW, annotator="leo")])
    labels = [rating(4), rating(5), rating(3, "leo"), choice("a"), choice("b", a="y", b="x")]
    rows, _ = ingested(
        tmp_path, [*pairs, *votes, *texts, *labels, {"prompt": None, "completion": "x"}], pairs
    )
    found = scan_folder(tmp_path / "mine", tmp_path)
    counts = {kind: found.count(kind) for kind in TYPES}
    assert counts == {"text": 4, "pairs": 7, "comparisons": 4, "ratings": 1}
    assert sum(counts.values()) + sum(source.faults for source in found.sources) == len(rows)


@pytest.mark.parametrize("key", ["time", "created_at", "timestamp", "updated_at"])
@pytest.mark.parametrize("times", [("2024-01-01", "2024-03-01"), ("2024-03-01", "2024-01-01")])
def test_keep_each_once_newest_score_of_own_rows_counts(key: str, times: tuple[str, str]) -> None:
    found, _ = read(*(rating(score, **{key: at}) for score, at in zip((2, 5), times, strict=True)))
    (kept,) = keep_each_once(found, (), Withdrawn())
    assert isinstance(kept, Rating) and kept.scores == [5.0 if times[1] > times[0] else 2.0]
