"""`chatmill gc` removes MLflow's copies and old caches that nothing needs, and names what stays."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from flows.cli.gc import collect_garbage
from tasks.engine.output import MANIFEST, StageOutput
from tasks.tracking.tracker import CLEANED, HOLDER, Tracker
from tests.flows.cli_runner import call, of
from tests.small_disk import fill_disk, small_disk

DAY = 86_400.0
SECRET_FREE = "https://example.org/texts.jsonl"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "var").mkdir()
    return tmp_path


@pytest.fixture
def tracker(root: Path) -> Tracker:
    return Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")


def output(root: Path, stage: str, key: str, run: str, reused: bool = False) -> StageOutput:
    folder = root / "outputs" / stage / key
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "model.safetensors").write_bytes(b"w" * 5000)
    (folder / "metrics.json").write_text("{}")
    (folder / "curves.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (folder / MANIFEST).write_text(json.dumps({"key": key, "inputs": {}}))
    return StageOutput(stage, key, str(folder), f"digest of {key}", reused, 1.0, {}, run)


def run_chain(
    tracker: Tracker, root: Path, key: str, days: float, holders: dict[str, str] | None = None
) -> dict[str, str]:
    """Record a pipeline run of two stages that ended so many days ago; return each stage's run."""
    made: dict[str, str] = {}
    with tracker.open_run("demo", {"preset.json": "{}", "git.diff": "diff"}, {}, ""):
        parent = tracker.run
        for stage in ("sft", "rlhf"):
            with tracker.open_stage(stage, {}, list(made.values())) as run:
                held = (holders or {}).get(stage)
                made[stage] = tracker.close_stage(output(root, stage, key, held or run, bool(held)), "")
            age(root, run, days)
    age(root, parent, days)
    return made


def age(root: Path, run: str, days: float) -> None:
    """Set the times of a run in the database, because no client can set them."""
    import sqlite3

    then = int((time.time() - days * DAY) * 1000)
    with sqlite3.connect(root / "var" / "mlflow.db") as store:
        store.execute("update runs set start_time = ?, end_time = ? where run_uuid = ?", (then, then, run))


def files(root: Path, run: str) -> set[str]:
    place = next((root / "var" / "mlflow" / "artifacts").rglob(run)) / "artifacts"
    return {path.name for path in place.iterdir()}


def say(*words: str) -> str:
    return call(of(collect_garbage), *words).output


def removals(said: str) -> list[str]:
    return [
        re.sub("^(would be removed|removed)", "", line)
        for line in said.splitlines()
        if re.match("would be removed:|removed:", line)
    ]


def test_gc_removes_mlflow_copies_unneeded_by_versions_and_kept_runs(root: Path, tracker: Tracker) -> None:
    unneeded, registered = (run_chain(tracker, root, key, 60) for key in ("a", "b"))
    young, newest = run_chain(tracker, root, "c", 3), run_chain(tracker, root, "d", 1)
    tracker.client.create_registered_model("chatmill")
    tracker.client.create_model_version("chatmill", str(root), registered["rlhf"])
    before = {run: files(root, run) for made in (registered, young, newest) for run in made.values()}
    promised = say("--dry-run")
    assert files(root, unneeded["rlhf"]) >= {"model", "curves.jsonl"}
    done = say()
    assert removals(promised) == removals(done) and len(removals(done)) == 2
    assert unneeded["rlhf"][:8] in done and unneeded["sft"][:8] in done
    for said in (promised, done):
        assert re.search(r"(would free|freed) outside the stage outputs: [1-9]", said)
        for why in ("registered versions", "runs that registered versions were made from", "younger than"):
            assert why in said
    assert {run: files(root, run) for run in before} == before
    # Records of the cleaned runs stay.
    assert files(root, unneeded["rlhf"]) == {MANIFEST}
    assert tracker.client.get_run(unneeded["rlhf"]).data.tags[CLEANED] == "model, curves.png, curves.jsonl"
    assert not removals(say())


def test_close_stage_reused_after_clean_logs_files_again(root: Path, tracker: Tracker) -> None:
    made = run_chain(tracker, root, "a", 60)
    run_chain(tracker, root, "b", 0)
    say()
    again = run_chain(tracker, root, "a", 50, made)
    assert set(again.values()).isdisjoint(made.values()) and "model" in files(root, again["rlhf"])
    assert tracker.client.get_run(made["rlhf"]).data.tags[HOLDER] == again["rlhf"]
    assert run_chain(tracker, root, "a", 49, made) == again
    run_chain(tracker, root, "b", 0)
    say()
    assert "model" not in files(root, again["rlhf"])
    third = run_chain(tracker, root, "a", 0, made)
    assert third["rlhf"] not in (made["rlhf"], again["rlhf"]) and "model" in files(root, third["rlhf"])


def test_gc_keeps_holder_of_reused_outputs(root: Path, tracker: Tracker) -> None:
    made = run_chain(tracker, root, "a", 60)
    assert run_chain(tracker, root, "a", 0, made) == made
    held = [place.parent.parent.name for place in (root / "var" / "mlflow").rglob("artifacts/model")]
    assert sorted(held) == sorted(made.values())
    assert "the newest run" in say() and "model" in files(root, made["rlhf"])


def test_gc_keeps_running_runs_and_runs_of_other_programs(root: Path, tracker: Tracker) -> None:
    other = tracker.client.create_run(tracker.experiment, start_time=1)
    tracker.client.log_text(other.info.run_id, "weights", "model/model.bin")
    tracker.client.set_terminated(other.info.run_id, end_time=2)
    with tracker.open_run("demo", {}, {}, ""), tracker.open_stage("sft", {}, []) as run:
        tracker.close_stage(output(root, "sft", "x", run), "")
        said = say("--older-than", "0m")
        assert "a running run" in said and "runs of other programs" in said
        assert "model" in files(root, run) and "model" in files(root, other.info.run_id)


def lay(path: Path, days: float, text: str = "x" * 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    then = time.time() - days * DAY
    for each in (path, path.parent):
        os.utime(each, (then, then))
    return path


YOUNG, LOCKED = "e0" * 8, "f0" * 4


def test_gc_removes_old_caches_and_dry_run_lists_same_files(root: Path, tracker: Tracker) -> None:
    from tasks.data.sources.download import parse_address

    cache = root / "var" / "cache"
    old = [
        lay(cache / "environments" / ("aa" * 8) / "pyvenv.cfg", 60),
        lay(cache / "sources" / ("bb" * 8) / "model.py", 60),
        lay(cache / "reproduce" / ("cc" * 4) / "preset.json", 60),
        lay(cache / "downloads" / "old.whl", 60),
        lay(cache / "downloads" / "datasets" / ("dd" * 8) / "rows.parquet", 60),
    ]
    stays = [
        lay(cache / "environments" / YOUNG / "pyvenv.cfg", 1),
        lay(root / parse_address(SECRET_FREE).cache_folder / "1" / "texts.jsonl", 60),
        lay(cache / "downloads" / "named.whl", 60),
        lay(cache / "reproduce" / LOCKED / "preset.json", 60),
    ]
    preset: dict[str, Any] = {"data": {"sources": [{"urls": [SECRET_FREE]}], "archives": {}}}
    preset["data"]["archives"]["words"] = {"file": "named.whl"}
    with tracker.open_run("demo", {"preset.json": json.dumps(preset)}, {}, ""):
        assert "a running run may use it" in say() and all(path.exists() for path in old)
    with (cache / "reproduce" / f"{LOCKED}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a reproduction may use it" in say("--dry-run")
    with (cache / "sources" / f"{'bb' * 8}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        said = say("--dry-run")
        assert re.search(r"var/cache/sources/(bb){8} +\d+ B +snapshot of the sources: a process holds", said)
    os.utime(stays[3], None)
    promised = say("--dry-run")
    assert all(path.exists() for path in old)
    done = say()
    assert removals(promised) == removals(done) and len(removals(done)) == len(old)
    assert [path.exists() for path in old] == [False] * len(old)
    assert [path.exists() for path in stays] == [True] * len(stays)
    for path in (f"environments/{YOUNG}", "downloads/named.whl", f"reproduce/{LOCKED}"):
        assert re.search(rf"var/cache/{path} +\d+ B", done)


def test_gc_full_disk_removes_outputs_before_it_writes_to_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's tag on the removed copies needs room, which the output gives."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with small_disk(tmp_path / "disk", "16m") as root:
        monkeypatch.chdir(root)
        (root / "var").mkdir()
        tracker = Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")
        old, _ = run_chain(tracker, root, "old", 40), run_chain(tracker, root, "new", 30)
        output = root / "var" / "cache" / "artifacts" / "sft" / ("ab" * 10)
        output.mkdir(parents=True)
        (output / MANIFEST).write_text(json.dumps({"key": output.name, "inputs": {}}))
        (output / "model.safetensors").write_bytes(bytes(2_000_000))
        os.utime(output / MANIFEST, (0, 0))
        say("--older-than", "365000d")
        fill_disk(root)
        with pytest.raises(MlflowException, match="disk is full"):
            tracker.client.set_tag(old["sft"], "word", "x" * 4000)
        said = say()
        assert "runs of sft" in said or "run of sft" in said
        assert not output.exists() and not [*output.parent.glob("*.gone")]
        assert files(root, old["sft"]) & {"model", "curves.jsonl"} == set()
        assert "model" in tracker.client.get_run(old["sft"]).data.tags[CLEANED]
