"""Announcements of new labels by a pipeline run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect import flow

from flows.config import read_preset
from flows.orchestration import events
from flows.orchestration.events import limit_arrivals
from flows.pipeline_run import PipelineRun
from tasks.data.labels.new_labels import known_labels
from tasks.data.records import rating_row
from tasks.engine.output import StageOutput
from tests.flows.prefect_project import SMOKE, unreachable_server
from tests.tasks.record_files import write_rows


@flow(persist_result=False)
def announcing() -> None:
    """Announce labels without Prefect's server, and again with it."""
    with PipelineRun(read_preset(SMOKE)) as run:
        run.references["ingest"] = StageOutput("ingest", "k", "", "d", False, 1.0, {"data_hash": "d5"})
        good = StageOutput("validate", "k", "good", "g", False, 1.0, {})
        with unreachable_server():
            run.announce_labels(good)
        assert known_labels(run.settings.root, "smoke").data == ""
        run.announce_labels(good)
        assert known_labels(run.settings.root, "smoke").data == "d5"


@flow(persist_result=False)
def collecting() -> None:
    """Announce labels with a threshold of two: one label, and then another one."""
    with PipelineRun(read_preset(SMOKE, ["labels.min_new=2", "name=few"])) as run:
        run.references["ingest"] = StageOutput("ingest", "k", "", "d", False, 1.0, {"data_hash": "d6"})
        run.announce_labels(StageOutput("validate", "k", "good", "g1", False, 1.0, {}))
        known = known_labels(run.settings.root, "few")
        assert known.data == "" and known.waiting.count == 1
        ratings = [rating_row("the film", f" is {n}", [1.0], ["ann"], "tone", "s", "g") for n in range(2)]
        write_rows(run.settings.root / "good" / "rows" / "ratings" / "00000.jsonl", ratings)
        run.announce_labels(StageOutput("validate", "k", "good", "g2", False, 1.0, {}))
        known = known_labels(run.settings.root, "few")
        assert known.data == "d6" and known.waiting.count == 0


def test_announce_labels_too_few_wait_for_next_ones(server_root: Path) -> None:
    for kind in ("comparisons", "ratings"):
        (server_root / "good" / "rows" / kind).mkdir(parents=True, exist_ok=True)
    rating = rating_row("the film", " is 0", [1.0], ["ann"], "tone", "s", "g")
    write_rows(server_root / "good" / "rows" / "ratings" / "00000.jsonl", [rating])
    collecting()


def test_announce_labels_unreachable_server_is_repeated_later(
    server_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("comparisons", "ratings"):
        (server_root / "good" / "rows" / kind).mkdir(parents=True, exist_ok=True)
    rating = rating_row("the film", " is good", [1.0], ["ann"], "tone", "s", "g")
    write_rows(server_root / "good" / "rows" / "ratings" / "00000.jsonl", [rating])
    monkeypatch.setattr(events, "EVENT_PATIENCE_SECONDS", 0.0)
    announcing()


def test_limit_arrivals_many_people_keeps_most_active_and_counts() -> None:
    many = {f"person {number:06}": 1 + (number == 59_999) for number in range(60_000)}
    found = limit_arrivals({"rows": {"ratings": 60_000}, "annotators": many})
    assert found["people"] == 60_000 and found["rows"] == {"ratings": 60_000}
    assert found["annotators"]["person 059999"] == 2 and len(json.dumps(found)) < 200_000
    few = {"ann": 2, "bob": 3}
    assert limit_arrivals({"rows": {}, "annotators": few}) == {"rows": {}, "annotators": few, "people": 2}
    some = {"ann": 3, "unknown": 1, "unknown-0": 2, "": 4}
    assert limit_arrivals({"rows": {}, "annotators": some})["people"] == 1
