"""MLflow's copies of models, curves and data docs: the choice of those that nothing needs, and their removal.

Records stay with every run: manifests, presets, lineage, diffs, metrics, verdicts and reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run

from tasks.cleanup.output_gc import RUNNING, show_age
from tasks.cleanup.removal import Removal
from tasks.tracking.queries import PARENT, child_runs, holder_run_id, run_or_none, runs_by_id
from tasks.tracking.tracker import CLEANED

_COPIES = ("model", "data_docs", "curves.png", "curves.jsonl")
RUN_ID = re.compile(r"[0-9a-f]{32}")
NEWEST_RUN = "the newest run"
VERSIONS, VERSION_INPUTS = "registered versions", "runs that registered versions were made from"
UNKNOWN_RUN = "runs that this MLflow store does not know"


@dataclass(frozen=True)
class Copies:
    """The copies that MLflow keeps with one stage's run, and their size in bytes."""

    run: str
    stage: str
    paths: tuple[Path, ...]
    size: int
    is_active: bool = True


@dataclass(frozen=True)
class CopyPlan:
    """The copies to remove, and those to keep, each with the reason."""

    removed: list[Copies]
    kept: list[tuple[Copies, str]]


def plan_copies(
    client: MlflowClient, folder: Path, age: float, now: float, alive: Iterable[str], newest: Iterable[str]
) -> CopyPlan:
    """Decide which copies below a local store's `folder` are removed.

    Args:
        client: The store that the runs are in.
        folder: The folder of the store's artifacts; a missing one holds none.
        age: Copies of runs that ended less than this many seconds ago stay.
        now: The time in seconds since 1970.
        alive: Pipeline runs whose process is alive; the copies of their stages stay.
        newest: The newest pipeline runs; the copies of their stages stay.
    """
    places = dict(_copy_paths(folder))
    if not places:
        return CopyPlan([], [])
    runs = runs_by_id(client, sorted(places))
    needed = _needed_runs(client, alive, newest)
    removed: list[Copies] = []
    kept: list[tuple[Copies, str]] = []
    for run, paths in sorted(places.items()):
        found = runs.get(run)
        copies = Copies(
            run,
            found.data.tags.get("chatmill.stage", "") if found else "",
            paths,
            sum(map(_path_size, paths)),
            found is not None and found.info.lifecycle_stage == LifecycleStage.ACTIVE,
        )
        if why := needed.get(run) or _reason_to_keep(found, age, now):
            kept.append((copies, why))
        else:
            removed.append(copies)
    return CopyPlan(removed, kept)


def remove_copies(client: MlflowClient, copies: Copies, removal: Removal) -> bool:
    """Remove the copies of one run; first record with the run that it no longer has them.

    A later run that reuses the stage's output then keeps the files itself.

    Returns:
        Whether all copies are gone.
    """
    if copies.is_active:
        # Before the removal: a kill in between leaves copies that nobody counts on, not a run that seems
        # complete.
        client.set_tag(copies.run, CLEANED, ", ".join(path.name for path in copies.paths))
    return all([removal.delete_path(path) for path in copies.paths])


def _copy_paths(folder: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Yield each run that has copies below the folder, with their paths."""
    # Runs lie below their experiment, or directly below the folder.
    for pattern in ("*/artifacts", "*/*/artifacts"):
        for place in sorted(folder.glob(pattern)):
            paths = tuple(
                path for path in (place / name for name in _COPIES) if path.exists() and not path.is_symlink()
            )
            # A link may lead to files of the user's, and a folder with another name was not made by MLflow.
            if RUN_ID.fullmatch(place.parent.name) and paths and not place.is_symlink():
                yield place.parent.name, paths


def _reason_to_keep(run: Run | None, age: float, now: float) -> str:
    if run is None:
        return UNKNOWN_RUN
    if "chatmill.stage" not in run.data.tags:
        return "runs of other programs"
    if run.info.status in ("RUNNING", "SCHEDULED"):
        return RUNNING
    ended = (run.info.end_time or run.info.start_time) / 1000
    return "" if now - ended > age else f"runs younger than {show_age(age)}"


def _needed_runs(client: MlflowClient, alive: Iterable[str], newest: Iterable[str]) -> dict[str, str]:
    """Return the stage runs whose copies are needed, each with the reason."""
    versions = [str(each.run_id) for each in client.search_model_versions() if each.run_id]
    needed = dict.fromkeys(versions, VERSIONS)
    waiting = sorted(needed)
    # A version's inputs have inputs: everything that the model was made from stays.
    while waiting:
        found = runs_by_id(client, waiting)
        inputs = {name for run in found.values() for name in _input_runs(run.data.tags)}
        waiting = sorted(inputs - needed.keys())
        needed |= dict.fromkeys(waiting, VERSION_INPUTS)
    for why, parents in ((RUNNING, alive), (NEWEST_RUN, newest)):
        for parent in filter(None, (run_or_none(client, name) for name in parents)):
            above = run_or_none(client, parent.data.tags.get(PARENT, "")) or parent
            for child in child_runs(client, above):
                needed.setdefault(holder_run_id(child), why)
                needed.setdefault(child.info.run_id, why)
    return needed


def _input_runs(tags: Mapping[str, str]) -> list[str]:
    return [run for run in (*tags.get("chatmill.inputs", "").split(","), tags.get("chatmill.reuses")) if run]


def _path_size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())
