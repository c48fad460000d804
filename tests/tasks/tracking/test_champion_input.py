"""Test which champion a new model is compared with, and how its files are fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tasks.engine.output import StageOutput, read_manifest
from tasks.tracking.champion_input import fetch_champion_model
from tasks.tracking.registered_model import MissingModel
from tasks.tracking.tracker import Tracker
from tests.tasks.tracking.mlflow_store import open_tracker


@pytest.fixture
def tracker(tmp_path: Path, empty_database: bytes) -> Tracker:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return open_tracker(tmp_path)


def champion(tracker: Tracker, digest: str, score: float) -> None:
    """Register a model that becomes the champion."""
    run = tracker.client.create_run(tracker.experiment).info.run_id
    tracker.client.log_text(run, json.dumps({"weights": digest}), "model/config.json")
    aligned = StageOutput("rlhf", digest, "", digest, False, 1.0, {}, run)
    metrics = {"passed": 1, "reason": "good", "score": score}
    assert tracker.register(
        aligned, StageOutput("gate", "g", "", f"{digest}{score}", False, 0.1, metrics)
    ).champion


def opponent(tracker: Tracker, digest: str) -> str:
    found = tracker.registry.opponent(digest)
    return str(found.version) if found else ""


def test_opponent_repeated_run_gets_same_version(tracker: Tracker) -> None:
    assert opponent(tracker, "a") == ""
    champion(tracker, "a", 0.1)
    assert opponent(tracker, "a") == "" and opponent(tracker, "b") == "1"
    champion(tracker, "b", 0.2)
    assert opponent(tracker, "b") == "1" and opponent(tracker, "a") == "2" == opponent(tracker, "c")
    champion(tracker, "c", 0.3)
    tracker.registry.rollback("", "rude", "ann")
    # The champion is b again: b keeps its former opponent, and c is compared with b.
    assert opponent(tracker, "b") == "1" and opponent(tracker, "c") == "2"


def test_fetch_champion_model_output_is_input_with_digest(tracker: Tracker, tmp_path: Path) -> None:
    champion(tracker, "a", 0.1)
    [version] = tracker.registry.versions()
    found = fetch_champion_model(version, tracker.uri, tmp_path, lambda event: None)
    assert found and found.stage == "champion"
    assert json.loads((Path(found.path) / "model" / "config.json").read_text()) == {"weights": "a"}
    assert json.loads((Path(found.path) / "champion.json").read_text()) == {"model": "a"}
    assert (read_manifest(Path(found.path)) or {})["digest"] == found.digest
    # It is fetched once; later calls do not need the store.
    assert fetch_champion_model(version, "sqlite:////nowhere", tmp_path, lambda event: None) == found


def test_fetch_champion_model_lost_model_is_refused(tracker: Tracker, tmp_path: Path) -> None:
    champion(tracker, "a", 0.1)
    [version] = tracker.registry.versions()
    for path in list((tmp_path / "mlflow").rglob("model")):
        shutil.rmtree(path)
    with pytest.raises(MissingModel, match=r"version 1 of chatmill: MLflow's store lacks"):
        fetch_champion_model(version, tracker.uri, tmp_path, lambda event: None)
    assert not [
        path for path in (tmp_path / "var" / "cache" / "artifacts" / "champion").iterdir() if path.is_dir()
    ]
