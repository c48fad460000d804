"""Reproduction of a run with uncommitted code in a clone that shares only the MLflow store."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.integration.clones import MORE, STAGES, Clones, chatmill, mlflow, summary


def tags(root: Path, table: str, condition: str) -> dict[str, str]:
    return dict(mlflow(root, f"select key, value from {table} where {condition}"))


def test_reproduce_changed_code_in_other_clone_is_identical(clones: Clones) -> None:
    second, records = clones.second, clones.records
    gate = next(entry for entry in summary(records)["stages"] if entry["name"] == "gate")
    assert MORE in gate["metrics"]["reason"]
    run = summary(records)["mlflow_run_id"]
    store = f"sqlite:///{records / 'var' / 'mlflow.db'}"
    refused = chatmill(second, "reproduce", run[:8], code=2, MLFLOW_TRACKING_URI=store)
    assert "no record of that diff" in refused
    said = chatmill(second, "reproduce", run[:8], "--trust", MLFLOW_TRACKING_URI=store)
    assert "reused" not in said
    assert f"identical: all {len(STAGES)} stages have identical bits" in said
    assert tags(records, "tags", f"run_uuid = '{run}'")["chatmill.reproduced"].startswith("identical at ")
    assert "chatmill.reproduced" in tags(records, "model_version_tags", "version = 1")
    kept = next((records / "var" / "mlflow").rglob("reproductions.json"))
    assert set(json.loads(kept.read_text())[0]["stages"]) == set(STAGES)
    # A reproduction leaves nothing in the clone or in the original store.
    assert not list((second / "var" / "cache" / "reproduce").iterdir())
    assert mlflow(records, "select count(*) from model_versions") == [(1,)]
    assert len(mlflow(records, "select 1 from tags where key = 'git.commit'")) == 1 + len(STAGES)
    words = ["git", "-C", str(second), "worktree", "list"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
