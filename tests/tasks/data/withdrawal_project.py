"""A project with labels of two people, of whom tests withdraw some."""

from __future__ import annotations

from pathlib import Path

from tasks.data.records import read_shards
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.withdrawals import write_withdrawals
from tasks.deletion.plan import DeletionPlan, DeletionRequest, plan_deletion
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tests.tasks.ingest_project import write

NOW = "2026-01-31T12:00:00+00:00"
SIGNATURE = ("max", "asked for", NOW)
SIGNED = {"by": "max", "why": "asked for", "time": NOW}
OWN = Source("mine", "rows", files="texts/*.jsonl")
LABEL = {"prompt": "p", "a": "x", "b": "y", "choice": "a"}
RATED = {"prompt": "q", "completion": "z", "scores": [1.0, 2.0], "annotators": ["ann", "ben"]}


def make(root: Path, parameters: DataParameters | None = None) -> StageOutput:
    """Run ingestion as a pipeline run does."""
    return ingest.run(parameters or DataParameters((OWN,)), {}, StageContext(root), lambda event: None)


def withdraw(root: Path, people: list[str], ids: list[str]) -> DeletionPlan:
    found = plan_deletion(root, DeletionRequest(people, dict.fromkeys(ids, ""), *SIGNATURE))
    write_withdrawals(root, found.new)
    return found


def ids(root: Path, kind: str) -> list[str]:
    return [row["id"] for row in read_shards(root / "data" / kind)]


def make_project(folder: Path) -> None:
    """Make a project with two texts, labels by ann and ben, and one rating by both."""
    labels = [{**LABEL, "annotator": name} for name in ("ann", "ben")]
    write(folder, {"text": "one"}, {"text": "two"}, *labels)
    write(folder, RATED, {"text": "one"}, name="b")
    make(folder)
