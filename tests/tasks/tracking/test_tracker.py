"""Test the tracker: runs in MLflow, and the champion."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from model.errors import UserError
from model.events import Step
from tasks.engine.output import StageOutput
from tasks.tracking.products import CHAMPION, MODEL
from tasks.tracking.queries import made_seconds
from tasks.tracking.tracker import Tracker
from tests.tasks.tracking.mlflow_store import open_tracker
from tests.waiting import PATIENCE


@pytest.fixture
def tracker(tmp_path, empty_database):
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return open_tracker(tmp_path)


def output(root: Path, stage: str = "rlhf", key: str = "k1", **changes) -> StageOutput:
    folder = root / stage / key
    (folder / "model").mkdir(parents=True, exist_ok=True)
    digest = changes.get("digest", f"digest-{key}")
    (folder / "manifest.json").write_text(json.dumps({"digest": digest}))
    (folder / "model" / "config.json").write_text("{}")
    lines = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    (folder / "curves.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    values = {
        "digest": digest,
        "reused": False,
        "seconds": 2.5,
        "metrics": {"loss": 0.5, "steps": 3},
    }
    return StageOutput(stage=stage, key=key, path=str(folder), **(values | changes))


def verdict(score: float | None, passed: bool = True) -> StageOutput:
    metrics = {"passed": int(passed), "reason": "kl is 20, at most 12 is wanted", "score": score}
    return StageOutput("gate", "g", "", f"verdict-{score}-{passed}", False, 0.1, metrics)


def track(tracker: Tracker, reference: StageOutput, parents=()) -> StageOutput:
    """Log one stage in a parent run of its own."""
    with (
        tracker.open_run("demo", {"preset.json": "{}"}, {"git.commit": "abc"}, "note"),
        tracker.open_stage(reference.stage, {"optimizer": {"learning_rate": 0.1}}, list(parents)),
    ):
        for step in range(1, 1200):
            tracker.log_event(Step(step, 3, {"loss": 1 / step}))
        run = tracker.close_stage(reference, "0123.dir")
    return StageOutput(**{**vars(reference), "run": run})


def test_made_seconds_computed_stages_of_both_versions_count(tracker, tmp_path):
    seconds = {"made": 1.0, "reused": 2.0, "computed": 3.0, "cached": 4.0}
    for status, took in seconds.items():
        made = track(tracker, output(tmp_path, key=status, seconds=took))
        tracker.client.set_tag(made.run, "chatmill.status", status)
    assert sorted(made_seconds(tracker.client, "demo", "rlhf")) == [1.0, 3.0]


def test_close_stage_child_run_has_metrics_files_and_data(tracker, tmp_path):
    made = track(tracker, output(tmp_path), parents=["one", "two"])
    run = tracker.client.get_run(made.run)
    assert run.data.tags["mlflow.parentRunId"] == tracker.run
    assert run.data.tags["chatmill.inputs"] == "one,two"
    assert run.data.tags["git.commit"] == "abc" and run.data.tags["chatmill.status"] == "computed"
    assert run.data.tags["chatmill.seconds"] == "2.5"
    assert run.data.params == {"optimizer.learning_rate": "0.1"}
    assert len(tracker.client.get_metric_history(made.run, "loss")) == 1200
    assert json.loads(run.inputs.dataset_inputs[0].dataset.source)["md5"] == "0123.dir"
    names = {file.path for file in tracker.client.list_artifacts(made.run)}
    assert names == {"manifest.json", "curves.jsonl", "curves.png", "model"}
    assert run.info.status == tracker.client.get_run(tracker.run).info.status == "FINISHED"


def test_close_stage_reused_output_names_its_run(tracker, tmp_path):
    made = track(tracker, output(tmp_path))
    again = track(tracker, output(tmp_path, reused=True, run=made.run))
    assert again.run == made.run
    [child] = tracker.client.search_runs([tracker.experiment], f"tags.`mlflow.parentRunId` = '{tracker.run}'")
    assert child.data.tags["chatmill.reuses"] == made.run
    assert not tracker.client.list_artifacts(child.info.run_id)


def test_close_stage_output_of_other_store_is_kept(tracker, tmp_path):
    found = track(tracker, output(tmp_path, reused=True, run="0" * 32))
    assert found.run != "0" * 32
    assert "chatmill.reuses" not in tracker.client.get_run(found.run).data.tags
    assert tracker.client.list_artifacts(found.run, "model")


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_open_run_failure_or_interrupt_sets_status(tracker, error, status):
    with (
        pytest.raises(error),
        tracker.open_run("demo", {}, {}, "note"),
        tracker.open_stage("sft", {}, []) as stage,
    ):
        raise error
    assert [tracker.client.get_run(run).info.status for run in (tracker.run, stage)] == [status, status]
    assert list(tracker.close_abandoned_runs()) == []


def linger(root: Path, runs) -> None:
    tracker = open_tracker(root)
    with tracker.open_run("demo", {}, {}, "flow-7"), tracker.open_stage("sft", {}, []) as stage:
        runs.put((tracker.run, stage))
        time.sleep(60)


def test_close_abandoned_runs_of_killed_process_are_closed(tracker, tmp_path):
    context = multiprocessing.get_context("spawn")
    runs = context.Queue()
    process = context.Process(target=linger, args=(tmp_path, runs))
    process.start()
    left = runs.get(timeout=PATIENCE)
    assert list(tracker.close_abandoned_runs()) == []
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(tracker.close_abandoned_runs()) == ["flow-7"]
    assert [tracker.client.get_run(run).info.status for run in left] == ["KILLED", "KILLED"]
    assert list(tracker.close_abandoned_runs()) == []


def test_close_abandoned_runs_run_that_ends_meanwhile_keeps_status(tracker, tmp_path):
    other = open_tracker(tmp_path)
    with other.open_run("demo", {}, {}, "alive"):
        alive = tmp_path / "mlflow" / "alive"
        # Files of killed runs, until one comes before that of the live run.
        while min(path.name for path in alive.iterdir()) == other.run:
            killed = tracker.client.create_run(tracker.experiment).info.run_id
            (alive / killed).write_text("killed")
        search = tracker.close_abandoned_runs()
        assert next(search) == "killed"
    assert "alive" not in list(search)
    assert tracker.client.get_run(other.run).info.status == "FINISHED"


def test_register_better_score_becomes_champion(tracker, tmp_path):
    first = track(tracker, output(tmp_path, key="a"))
    assert tracker.register(first, verdict(0.4)).champion
    worse = tracker.register(track(tracker, output(tmp_path, key="b")), verdict(0.3))
    assert not worse.champion and "score: 0.4, and this version has 0.3" in worse.says
    better = tracker.register(track(tracker, output(tmp_path, key="c")), verdict(0.5))
    assert better.champion and better.version == "3"
    assert tracker.registry.champion().version == 3
    assert (tracker.version_folder(str(tmp_path)) / "config.json").exists()
    assert [version.version for version in tracker.registry.versions()] == [3, 2, 1]


def test_register_failed_gate_is_kept_with_reason(tracker, tmp_path):
    refused = tracker.register(track(tracker, output(tmp_path)), verdict(9.0, passed=False))
    assert not refused.champion and tracker.registry.champion() is None
    says = "no version .* is champion; `chatmill models chatmill` shows why, and chatmill/1 names the newest"
    with pytest.raises(UserError, match=says):
        tracker.version_folder(str(tmp_path))
    # The version itself is named as in all other commands.
    for address in ("chatmill/1", "1"):
        assert (tracker.version_folder(str(tmp_path), address) / "config.json").exists()
    with pytest.raises(UserError, match="has no version 7 of chatmill"):
        tracker.version_folder(str(tmp_path), "chatmill/7")
    [version] = tracker.registry.versions()
    assert version.tags["reason"] == "kl is 20, at most 12 is wanted"
    assert CHAMPION not in version.aliases


def test_register_same_model_is_one_version(tracker, tmp_path):
    made = track(tracker, output(tmp_path))
    first = tracker.register(made, verdict(0.4))
    again = tracker.register(made, verdict(0.4))
    assert again.version == first.version and again.champion
    assert len(tracker.client.search_model_versions(f"name='{MODEL}'")) == 1
