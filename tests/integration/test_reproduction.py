"""Reproduction of a run with uncommitted code in a clone that shares only the MLflow store."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.test_pipeline import REPOSITORY, SMOKE, STAGES, command, environment, mlflow, summary

HELD = (
    "flows",
    "tasks",
    "model",
    "configs",
    "tests/fixtures/exports/smoke",
    "requirements.txt",
    ".gitignore",
)
SHORT = [
    word
    for change in (
        "pretrain.steps=20",
        "sft.steps=10",
        "reward.steps=10",
        "rlhf.steps=2",
        "evaluate.num_prompts=8",
    )
    for word in ("--set", change)
]
# The stage imports an untracked module.
LOOSE = "MORE = 'of the rooms'\n"
IMPORTED = "\n\nfrom tasks.moreover import MORE\n"


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)


def chatmill(root: Path, *words: str, store: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command with the code of the clone."""
    own = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    if store:
        own["MLFLOW_TRACKING_URI"] = f"sqlite:///{store / 'var' / 'mlflow.db'}"
    return subprocess.run(
        command(*words), cwd=root, env=environment() | own, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Clone the current files twice, and run changed code in the first clone."""
    place = tmp_path_factory.mktemp("clones")
    first, second = place / "first", place / "second"
    for name in HELD:
        there = REPOSITORY / name
        to = first / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if there.is_dir():
            shutil.copytree(there, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(there, to)
    git(place, "init", "-q", "first")
    git(first, "add", ".")
    git(first, "commit", "-qm", "all")
    git(place, "clone", "-q", "first", "second")
    stage = first / "tasks" / "gate.py"
    changed, count = re.subn(r'"reason": reason,', '"reason": f"{reason} {MORE}",', stage.read_text())
    assert count == 1
    stage.write_text(changed + IMPORTED)
    (first / "tasks" / "moreover.py").write_text(LOOSE)
    done = chatmill(first, "run", "--config", f"configs/{SMOKE.name}", *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    return first, second


def tags(root: Path, table: str, condition: str) -> dict[str, str]:
    return dict(mlflow(root, f"select key, value from {table} where {condition}"))


def test_reproduce_changed_code_in_other_clone_is_identical(clones: tuple[Path, Path]) -> None:
    first, second = clones
    gate = next(entry for entry in summary(first)["stages"] if entry["name"] == "gate")
    assert "of the rooms" in gate["metrics"]["reason"]
    run = summary(first)["mlflow_run_id"]
    refused = chatmill(second, "reproduce", run[:8], store=first)
    assert refused.returncode == 2 and "no record of that diff" in refused.stderr
    done = chatmill(second, "reproduce", run[:8], "--trust", store=first)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "reused" not in said
    assert f"identical: all {len(STAGES)} stages have identical bits" in said
    assert tags(first, "tags", f"run_uuid = '{run}'")["chatmill.reproduced"].startswith("identical at ")
    assert "chatmill.reproduced" in tags(first, "model_version_tags", "version = 1")
    kept = next((first / "var" / "mlflow").rglob("reproductions.json"))
    assert set(json.loads(kept.read_text())[0]["stages"]) == set(STAGES)
    # A reproduction leaves nothing in the clone or in the original store.
    assert not list((second / "var" / "cache" / "reproduce").iterdir())
    assert mlflow(first, "select count(*) from model_versions") == [(1,)]
    assert len(mlflow(first, "select 1 from tags where key = 'git.commit'")) == 1 + len(STAGES)
    words = ["git", "-C", str(second), "worktree", "list"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
