"""Read the parts of a finished run's results that must not depend on the number of kills."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# What was measured by a clock, or differs with the run that said it.
TIMED = (
    "tokens_per_second",
    "goodput",
    "flops_utilization",
    "seconds",
    "cost/",
    "rows_per_second",
    "megabytes_per_second",
)
GOING = ("RUNNING", "PENDING", "CANCELLING")
REGISTERED = ("digest", "gate", "score", "passed", "promote", "reason", "figures")


def read_outcome(root: Path) -> dict[str, Any]:
    """Return the digests and metrics of each stage of the last complete run, and the registry, by name."""
    summary = json.loads((root / "var" / "summary.json").read_text())
    found: dict[str, Any] = {}
    with sqlite3.connect(root / "var" / "mlflow.db") as store:
        for entry in summary["stages"]:
            manifest = json.loads((Path(entry["folder"]) / "manifest.json").read_text())
            found[f"{entry['name']}'s digest"] = manifest["digest"]
            holder = _holder(store, summary["mlflow_run_id"], entry["name"])
            found[f"{entry['name']}'s metrics"] = _points(store, holder)
            found[f"{entry['name']}'s files in MLflow"] = _files(root, store, holder)
        found["the registry"] = _registry(store)
    return found


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return a sentence about each value that differs from the expected one."""
    told = []
    for name in sorted(expected.keys() | found.keys()):
        one, other = expected.get(name), found.get(name)
        if one != other:
            told.append(f"{name}: {_short(one, other)} expected, {_short(other, one)} found")
    return told


def left_over(root: Path) -> list[str]:
    """Return what no living process owns after the last run: files, and runs that seem to be running."""
    artifacts = root / "var" / "cache" / "artifacts"
    left = [str(path) for end in ("part", "view", "gone") for path in sorted(artifacts.glob(f"*/*.{end}"))]
    left += [str(path) for path in (root / "data" / ".chatmill").glob("new*")]
    left += [str(path) for path in (root / "data.dvc.part",) if path.exists()]
    left += [str(path) for path in sorted((root / "var" / "mlflow" / "alive").glob("*"))]
    with sqlite3.connect(root / "var" / "mlflow.db") as store:
        open_runs = store.execute("select name from runs where status = 'RUNNING'").fetchall()
    left += [f"MLflow's run {name}, RUNNING" for (name,) in open_runs]
    with sqlite3.connect(root / "var" / "prefect" / "prefect.db") as store:
        for kind in ("flow_run", "task_run"):
            rows = store.execute(f"select name, state_type from {kind}").fetchall()
            left += [f"Prefect's {kind} {name}, {state}" for name, state in rows if state in GOING]
    return left


def repeated(root: Path) -> tuple[int, float]:
    """Return the optimizer steps that were computed twice, and the device-seconds of all repeated work."""
    steps, lost = 0, 0.0
    for path in (root / "var" / "cache" / "artifacts").glob("*/*/*.json"):
        if path.name not in ("manifest.json", "spent.json"):
            continue
        try:
            cost = json.loads(path.read_text()).get("cost", {})
        except (OSError, ValueError):
            continue
        steps += int(cost.get("repeated", 0))
        lost += float(cost.get("lost", 0.0))
    return steps, lost


def _holder(store: sqlite3.Connection, parent: str, stage: str) -> str:
    """Return the run with the files and metrics of a stage of a pipeline run."""
    children = store.execute(
        "select a.run_uuid from tags a join tags b using (run_uuid) where a.key = 'mlflow.parentRunId' "
        "and a.value = ? and b.key = 'chatmill.stage' and b.value = ?",
        (parent, stage),
    ).fetchall()
    run = str(children[0][0])
    reuses = store.execute(
        "select value from tags where run_uuid = ? and key = 'chatmill.reuses'", (run,)
    ).fetchall()
    return str(reuses[0][0]) if reuses else run


def _points(store: sqlite3.Connection, run: str) -> list[tuple[str, int, float]]:
    rows = store.execute("select key, step, value from metrics where run_uuid = ?", (run,)).fetchall()
    return sorted({(key, step, value) for key, step, value in rows if not key.startswith(TIMED)})


def _files(root: Path, store: sqlite3.Connection, run: str) -> list[str]:
    [(address,)] = store.execute("select artifact_uri from runs where run_uuid = ?", (run,)).fetchall()
    folder = root / "var" / "mlflow" / "artifacts" / urlsplit(str(address)).path.lstrip("/")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _registry(store: sqlite3.Connection) -> dict[str, Any]:
    tags = store.execute("select version, key, value from model_version_tags order by version, key")
    moves = store.execute("select key, value from registered_model_tags order by key").fetchall()
    reasons = [json.loads(value) for key, value in moves if key.startswith("chatmill.move")]
    return {
        "versions": [row for row in tags if row[1] in REGISTERED],
        "alias": store.execute("select alias, version from registered_model_aliases").fetchall(),
        "moves": [{name: value for name, value in move.items() if name != "time"} for move in reasons],
    }


def _short(value: Any, other: Any) -> str:
    if isinstance(value, list) and isinstance(other, list):
        only = [entry for entry in value if entry not in other]
        return f"{len(value)} entries, only here: {only[:4]}"
    text = json.dumps(value)
    return text if len(text) < 400 else f"{text[:400]}…"
