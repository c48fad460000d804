"""Measure the seconds from the event of new labels to the start of the run that aligns the model on them.

Run it with `python -m tests.benchmarks.events --rounds 5`. It starts `chatmill up` in a copy of the
repository with the smoke preset. The deployment `labels` finds the labels and emits the first event; the
benchmark emits the others.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flows.servers.environment import checkout_environment, free_port

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("flows", "tasks", "model", "configs", "prefect.yaml", "requirements.txt", "tests/fixtures/exports")
BAR = 15.0
LONGEST_SECONDS = 300.0


def lay(root: Path) -> None:
    """Create a copy of the repository's packages in `root`, with its deployments set to the smoke preset."""
    for name in ROOMS:
        source, place = REPOSITORY / name, root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)
    pointer = root / "prefect.yaml"
    pointer.write_text(pointer.read_text().replace("demo", "smoke"))


def call(root: Path, *words: str, **more: str) -> str:
    """Return the output of a program that runs in the folder."""
    environment = {**checkout_environment(root), **more}
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def measure(root: Path, rounds: int) -> list[dict[str, Any]]:
    """Return the delay and final state of each run; `labels` starts the first, plain events the others."""
    api = json.loads((root / "var" / "up.json").read_text())["prefect"]
    said = call(root, "-m", "tests.benchmarks.events", "--inside", str(rounds), PREFECT_API_URL=api)
    found: list[dict[str, Any]] = json.loads(said.splitlines()[-1])
    return found


def _inside(rounds: int) -> list[dict[str, Any]]:
    from flows.servers.environment import prepare_environment

    prepare_environment(Path.cwd())
    from prefect.deployments import run_deployment

    from flows.orchestration.events import LABELS_INGESTED, emit_run_event

    seen: set[str] = set()
    run_deployment("chatmill-labels/labels", timeout=LONGEST_SECONDS)
    found = [_next(seen, None)]
    hash_, asked = found[0]["data_hash"], {"config": "configs/smoke.yaml"}
    for _ in range(rounds):
        began = time.time()
        emit_run_event(LABELS_INGESTED, "smoke", "labels were accepted", "", data_hash=hash_, **asked)
        found.append(_next(seen, began))
    for _ in range(3):
        emit_run_event(LABELS_INGESTED, "smoke", "labels were accepted", "", data_hash=hash_, **asked)
    found += [_next(seen, None) for _ in range(3)]
    return found


def _next(seen: set[str], began: float | None) -> dict[str, Any]:
    """Return the next finished run of `align`, and the seconds from its event to its start."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    deadline = time.monotonic() + LONGEST_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            for run in client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=["chatmill-align"]))
            ):
                if str(run.id) in seen or run.state is None or not run.state.is_final():
                    continue
                seen.add(str(run.id))
                assert run.created is not None
                start = run.start_time.timestamp() if run.start_time else None
                return {
                    "state": run.state.name,
                    "says": run.state.message,
                    "data_hash": run.parameters.get("data_hash"),
                    "seconds": start - (began or run.created.timestamp()) if start else None,
                }
            time.sleep(0.5)
    raise RuntimeError("no run of align ended")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="events after the first")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(_inside(given.inside)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lay(root)
        shutil.copytree(REPOSITORY / "tests" / "benchmarks", root / "tests" / "benchmarks")
        ports = ("--prefect-port", str(free_port()), "--mlflow-port", str(free_port()), "--no-label")
        print(call(root, "-m", "flows.cli.main", "up", "--detach", *ports))
        try:
            found = measure(root, given.rounds)
        finally:
            call(root, "-m", "flows.cli.main", "down")
    for run in found:
        print(f"{run['seconds'] or 0:6.1f} s  {run['state']}: {run['says']}")
    median = statistics.median(run["seconds"] for run in found[1 : given.rounds + 1])
    print(f"event to the start of align: {median:.1f} s, median of {given.rounds} (bar {BAR:.0f} s)")
    return int(median > BAR or any(run["state"] != "Completed" for run in found))


if __name__ == "__main__":
    sys.exit(main())
