"""How long `why`, `lineage`, `models` and `cost` take, as whole commands, on a store with many runs.

`python -m tests.bench.past --runs 200` makes the smoke chain once in a temporary folder, records it again and
again through the project's own tracker, and starts each command anew for each timing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flows.surroundings import bare

REPOSITORY = Path(__file__).parent.parent.parent
SMOKE = REPOSITORY / "configs" / "smoke.yaml"
COMMANDS = {
    "why": ("why", "rlhf"),
    "lineage": ("lineage", "champion"),
    "models": ("models",),
    "cost": ("cost",),
}
BAR = 3.0
# One run in so many made its stages itself, the others reused them.
MADE = 10


def call(root: Path, *words: str) -> float:
    """Seconds that a command takes in that folder. Raises RuntimeError where it fails."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=bare(REPOSITORY), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return time.monotonic() - began


def record(root: Path, runs: int) -> None:
    """Put so many pipeline runs more into the store: all stages of the last one, made or reused."""
    from flows.surroundings import prepare

    place = prepare(root)
    from tasks.stage import Reference, read_manifest
    from tasks.tracking import Tracker

    tracker = Tracker(place.mlflow, "chatmill", place.var / "mlflow")
    last = json.loads((place.var / "summary.json").read_text())
    first = tracker.client.get_run(last["mlflow_run_id"])
    tags = {name: value for name, value in first.data.tags.items() if not name.startswith("mlflow.")}
    preset = Path(tracker.client.download_artifacts(last["mlflow_run_id"], "preset.json")).read_text()
    for number in range(runs):
        reused = number % MADE > 0
        with tracker.open_run("smoke", {"preset.json": preset}, tags, note=""):
            parents: list[str] = []
            for stage in last["stages"]:
                found = read_manifest(Path(stage["folder"]))
                assert found is not None
                reference = Reference(
                    found["stage"], found["key"], stage["folder"], found["digest"], reused, found["seconds"],
                    found["metrics"], found["run"],
                )  # fmt: skip
                with tracker.open_stage(found["stage"], found["parameters"], parents):
                    parents.append(tracker.close_stage(reference, last["data_hash"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--tries", type=int, default=5)
    given = parser.parse_args()
    met = True
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "tests" / "exports").mkdir(parents=True)
        (root / "tests" / "exports" / "smoke").symlink_to(REPOSITORY / "tests" / "exports" / "smoke")
        call(root, "-m", "flows.command", "run", "--config", str(SMOKE))
        record(root, given.runs)
        for name, words in COMMANDS.items():
            taken = [call(root, "-m", "flows.command", *words) for _ in range(given.tries)]
            middle = statistics.median(taken)
            met &= middle <= BAR
            print(f"{name:<8} {middle:5.2f} s, median of {given.tries} (bar {BAR:.0f} s)")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
