"""Test which models rows or labels reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.deletion.affected_models import (
    Finished,
    SearchTarget,
    _find_rows,
    _matching_lines,
    _trained_judges,
)
from tasks.project.paths import ARTIFACTS
from tasks.tracking.tracker import Tracker
from tests.any_user import as_any_user


def test_trained_judges_finds_only_reward_models(tmp_path):
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "chatmill", tmp_path / "mlflow")
    runs, holders = [], []
    for kind in ("reward_model", "lexicon", "reward_model"):
        with tracker.open_run("demo", {}, {"prefect.flow_run_id": "f"}, "note"):
            with tracker.open_stage("judge", {"kind": kind}, []) as judge:
                pass
            runs.append(tracker.run)
            holders.append(judge)
    noted = {run: {"judge": Finished("k", judge, "")} for run, judge in zip(runs, holders, strict=True)}
    assert _trained_judges(tracker.client, noted) == {runs[0], runs[2]}
    # Reused: the run that holds the judge's files says what it is.
    reused = {**noted, runs[1]: noted[runs[0]]}
    assert _trained_judges(tracker.client, reused) == set(runs)
    # Gone from MLflow: the runs that reused it say so.
    gone = {run: {"judge": Finished("k", "0" * 32, "")} for run in runs}
    assert _trained_judges(tracker.client, gone) == {runs[0], runs[2]}
    assert _trained_judges(tracker.client, {runs[0]: {}}) == set()


@pytest.mark.parametrize(
    ("kind", "metrics", "trained"),
    [
        ("reward_model", {"judge": "reward_model", "loss": 0.4}, True),
        ("reward_model", {"judge": "none", "why": "fewer than 100 texts"}, False),
        ("none", {"judge": "none"}, False),
        ("lexicon", {"judge": "lexicon"}, False),
        # Without a record, a label must not be taken for unused.
        ("reward_model", None, True),
        ("reward_model", {}, True),
    ],
)
def test_trained_judges_too_few_labels_train_none(
    tmp_path: Path, empty_database: bytes, kind: str, metrics: dict[str, object] | None, trained: bool
) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "chatmill", tmp_path / "mlflow")
    with tracker.open_run("demo", {}, {"prefect.flow_run_id": "f"}, "note"):
        with tracker.open_stage("judge", {"kind": kind}, []) as judge:
            pass
        run = tracker.run
    if metrics is not None:
        tracker.client.log_text(judge, json.dumps({"metrics": metrics}), "manifest.json")
    noted = {run: {"judge": Finished("k", judge, "")}}
    assert _trained_judges(tracker.client, noted) == ({run} if trained else set())


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_find_rows_folder_of_another_user_is_refused_and_not_gone(tmp_path: Path, depth: int) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "chatmill", tmp_path / "mlflow")
    split = tmp_path / ARTIFACTS / "split" / "k"
    split.mkdir(parents=True)
    closed = (split, *split.parents)[depth]
    closed.chmod(0)
    try:
        with as_any_user(), pytest.raises(UserError, match=r"cannot be listed \(.*; let its owner run this"):
            _find_rows(
                tracker.client,
                tmp_path,
                "r",
                Finished("k", "", ""),
                SearchTarget(annotator="ann"),
                set(),
                set(),
            )
    finally:
        closed.chmod(0o700)


def test_matching_lines_person_finds_the_pairs_that_they_wrote(tmp_path: Path) -> None:
    lines = [
        json.dumps({"id": f"{n:016}", "prompt": "p", "completion": "c"}, separators=(",", ":"))
        for n in (1, 2)
    ]
    # As an editor may leave it: the id is not at its fixed place.
    lines.append(json.dumps({"prompt": "p", "completion": "c", "id": f"{3:016}"}))
    path = tmp_path / "00000.jsonl"
    path.write_text("\n".join(lines) + "\n")
    people: set[str] = set()
    for wanted in ({1}, {3}, {1, 3}, {4}):
        written = frozenset(f"{n:016}" for n in wanted)
        sought = SearchTarget(annotator="ann", written=written)
        found = [json.loads(line)["id"] for line in _matching_lines(path, "pairs", sought, set(), people)]
        assert {*found} == written - {f"{4:016}"}
    assert not people
