"""Measure the commands that read earlier runs, as whole processes, on a store with many runs.

Run it with `make past`, or `python -m tests.benchmarks.past --runs 1000`. It runs the smoke chain once in a
temporary folder and records that run many times through chatmill's own tracker. One run in ten is recorded as
computed anew, with a version of its own. Each timing starts a new process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.events import Evaluation
from tests.benchmarks.run_copies import Template
from tests.benchmarks.smoke import SMOKE, call, lay

if TYPE_CHECKING:
    from tasks.engine.output import StageOutput
    from tasks.tracking.tracker import Tracker

BAR = 3.0
# One run in so many made its stages itself, the others reused them.
MADE = 10
DATA = ("ingest", "validate", "split")


def record(root: Path, runs: int, by_tracker: int = 2 * MADE) -> None:
    """Add pipeline runs to the store: all stages of the last one, computed or cached.

    Args:
        root: The project's folder.
        runs: The number; a multiple of `MADE` if there are more than `by_tracker`.
        by_tracker: The number that chatmill's tracker records; the others are copies of the last `MADE`.
    """
    from flows.servers.environment import prepare_environment

    settings = prepare_environment(root)
    from tasks.tracking.tracker import Tracker

    tracker = Tracker(settings.mlflow, "chatmill", settings.var / "mlflow", "smoke")
    last = json.loads((settings.var / "summary.json").read_text())
    first = tracker.client.get_run(last["mlflow_run_id"])
    tags = first.data.tags
    tags = {name: value for name, value in tags.items() if not name.startswith(("mlflow.", "chatmill."))}
    preset = Path(tracker.client.download_artifacts(last["mlflow_run_id"], "preset.json")).read_text()
    holders: dict[str, str] = {}
    parents = []
    made: dict[str, StageOutput] = {}
    for number in range(min(runs, by_tracker)):
        with tracker.open_run("smoke", {"preset.json": preset}, tags, note=""):
            made = {}
            for stage in last["stages"]:
                found = _recorded(tracker, stage, number, holders, last["data_hash"])
                holders[found.stage], made[found.stage] = found.run, found
            tracker.register(made["rlhf"], made["gate"])
            tracker.mark_complete(last["data_hash"])
            parents.append(tracker.run)
    if runs > by_tracker:
        _copy(tracker, settings.var, parents[-MADE:], last["stages"], made, by_tracker // MADE, runs // MADE)


def _copy(
    tracker: Tracker, var: Path, parents: Sequence[str], stages: Sequence[dict[str, Any]],
    made: dict[str, StageOutput], begin: int, end: int,
) -> None:  # fmt: skip
    """Copy pipeline runs, the last at `begin - 1`, for each computed run up to `end`; register each."""
    template = Template(var / "mlflow.db", var / "mlflow" / "artifacts", parents)
    for making in range(begin, end):
        texts = {}
        for stage in stages:
            if stage["name"] not in DATA:
                found = _manifest_of(stage)
                for name in ("key", "digest"):
                    texts[_varied(found[name], begin - 1)] = _varied(found[name], making)
        with template.open_store() as store:
            ids = template.copy(store, texts, making, making - begin + 1)
        aligned, verdict = (
            replace(
                made[name],
                key=texts[made[name].key],
                digest=texts[made[name].digest],
                run=ids[made[name].run],
            )
            for name in ("rlhf", "gate")
        )
        tracker.register(aligned, replace(verdict, metrics={**verdict.metrics, "score": making}))
    template.move_times(end - begin)


def _recorded(
    tracker: Tracker, stage: dict[str, Any], number: int, holders: dict[str, str], data_hash: str
) -> StageOutput:
    """Record one stage in MLflow, with curves and a key of its own if it was computed."""
    from tasks.engine.catalog import load_stages
    from tasks.engine.output import StageOutput

    found = _manifest_of(stage)
    # The data stayed as it was; what is trained came out differently each time.
    making = number // MADE if stage["name"] not in DATA else 0
    key, digest = (_varied(found[name], making) for name in ("key", "digest"))
    # Each is a little better than the one before: versions and moves of the champion come as they would.
    metrics = {**found["metrics"], **({"score": making, "passed": 1} if stage["name"] == "gate" else {})}
    reference = StageOutput(
        stage["name"], key, stage["folder"], digest, number % MADE > 0, found["seconds"], metrics,
        holders.get(stage["name"], ""), found["cost"],
    )  # fmt: skip
    parents = [holders[name] for name in found["inputs"]] if holders else []
    declaration = load_stages()[stage["name"]].declaration
    with tracker.open_stage(stage["name"], found["parameters"], parents, declaration=declaration):
        if not reference.reused:
            for event in _curves(Path(stage["folder"])):
                tracker.log_event(event)
        return replace(reference, run=tracker.close_stage(reference, data_hash))


def _manifest_of(stage: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a stage of the last run."""
    from tasks.engine.output import read_manifest

    found = read_manifest(Path(stage["folder"]))
    assert found is not None
    return found


def _varied(digest: str, making: int) -> str:
    return hashlib.sha256(f"{digest} {making}".encode()).hexdigest()[: len(digest)] if making else digest


def _curves(folder: Path) -> Iterator[Evaluation]:
    if (folder / "curves.jsonl").exists():
        for line in (folder / "curves.jsonl").read_text().splitlines():
            row = json.loads(line)
            yield Evaluation(row.pop("step"), row)


def commands(root: Path) -> dict[str, tuple[str, ...]]:
    """Return the timed commands by name; `compare` and `explain` get the last run and a much older one."""
    from flows.servers.environment import prepare_environment

    settings = prepare_environment(root)
    from mlflow import MlflowClient

    from tasks.tracking.queries import PIPELINES, search_runs

    ids = [run.info.run_id for run in search_runs(MlflowClient(settings.mlflow), PIPELINES)]
    return {
        "explain": ("explain", "rlhf"),
        "explain RUN": ("explain", "rlhf", ids[len(ids) // 2][:8]),
        "lineage": ("lineage", "champion"),
        "lineage --annotator": ("lineage", "--annotator", "person-1"),
        "models": ("models",),
        "models --history": ("models", "--history"),
        "cost": ("cost",),
        "cost --by run": ("cost", "--by", "run"),
        "compare": ("compare", ids[-1][:8], ids[0][:8]),
        "compare VERSION": ("compare", "1", "champion"),
    }


@contextmanager
def _folder(given: str) -> Iterator[Path]:
    """Yield the named folder, or a temporary one."""
    if given:
        yield Path(given).resolve()
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--folder", default="", help="keep the store there, or time on the one that is there")
    given = parser.parse_args()
    met = True
    with _folder(given.folder) as root:
        if not (root / "var" / "mlflow.db").exists():
            lay(root)
            call(root, "flows.cli.main", "run", "--config", str(SMOKE))
            record(root, given.runs)
        for name, words in commands(root).items():
            taken = [call(root, "flows.cli.main", *words) for _ in range(given.tries)]
            middle = statistics.median(one.seconds for one in taken)
            busy = statistics.median(one.processor for one in taken)
            met &= middle <= BAR
            print(f"{name:<20} {middle:5.2f} s, of a processor {busy:.2f}", flush=True)
    print(f"medians of {given.tries}; bar {BAR:.0f} s: {'met' if met else 'missed'}")
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
