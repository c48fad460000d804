"""The cost of runs, summed by run, week or stage; read from MLflow by two searches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tasks.common.stage_status import CACHED, COMPUTED, read_status
from tasks.tracking.queries import COST_TAG, HELD, PIPELINES, preset_of, search_runs
from tasks.tracking.tag_records import read_record

_ENDED, _RUNNING = "ended", "running"
OLDEST = ("attributes.start_time ASC",)


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage in one pipeline run, in device-seconds of `device`.

    Attributes:
        run: The pipeline run's id in MLflow.
        preset: The preset's name.
        began: The start of the run in seconds since 1970.
        stage: The stage's name.
        state: "computed", "cached", "ended" (killed or failed, and not resumed) or "running".
        device: "cpu" or "cuda".
        seconds: Device-seconds that were spent.
        lost: The part of `seconds` for work that was repeated or not kept.
        saved: Device-seconds that a reused stage had taken.
        tokens: The number of tokens that were processed.
        memory: The largest memory in bytes.
        gpu_memory: The largest memory on one GPU in bytes.
        repeated: Optimizer steps that were repeated.
    """

    run: str
    preset: str
    began: float
    stage: str
    state: str
    device: str
    seconds: float = 0.0
    lost: float = 0.0
    saved: float = 0.0
    tokens: int = 0
    memory: int = 0
    gpu_memory: int = 0
    repeated: int = 0


@dataclass
class Sum:
    """The total of several costs; `memory` and `gpu_memory` are maxima."""

    name: str
    computed: int = 0
    cached: int = 0
    ended: int = 0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    cpu_lost: float = 0.0
    gpu_lost: float = 0.0
    cpu_saved: float = 0.0
    gpu_saved: float = 0.0
    tokens: int = 0
    memory: int = 0
    gpu_memory: int = 0
    repeated_steps: int = 0

    def add(self, taken: StageCost) -> None:
        """Add one cost."""
        self.computed += taken.state == COMPUTED
        self.cached += taken.state == CACHED
        self.ended += taken.state == _ENDED
        if taken.device == "cpu":
            self.cpu_seconds += taken.seconds
            self.cpu_lost += taken.lost
            self.cpu_saved += taken.saved
        else:
            self.gpu_seconds += taken.seconds
            self.gpu_lost += taken.lost
            self.gpu_saved += taken.saved
        self.tokens += taken.tokens
        self.memory = max(self.memory, taken.memory)
        self.gpu_memory = max(self.gpu_memory, taken.gpu_memory)
        self.repeated_steps += taken.repeated


@dataclass(frozen=True)
class Costs:
    """The costs that were found, and the number of pipeline runs whose version did not measure cost yet."""

    taken: list[StageCost]
    runs: int
    unmeasured: int


def read_costs(client: MlflowClient, since: float) -> Costs:
    """Return the costs of all pipeline runs that began after `since`, in seconds since 1970."""
    later = f"attributes.start_time >= {int(since * 1000)}"
    pipelines = search_runs(client, f"{PIPELINES} and {later}", order=OLDEST)
    cut = f"tags.`chatmill.stage` LIKE '%' and attributes.status != 'FINISHED' and {later}"
    taken: list[StageCost] = []
    resumed: set[str] = set()
    unmeasured = 0
    for run in pipelines:
        found = {
            tag.removeprefix(COST_TAG): read_record(
                run.data.tags, tag, ("status", "device", "device_seconds")
            )
            for tag in run.data.tags
            if tag.startswith(COST_TAG)
        }
        unmeasured += not found and run.info.status == "FINISHED"
        for stage, cost in found.items():
            resumed.update(cost.get("runs", []))
            taken.append(_measured_cost(run, stage, cost))
    # A later attempt counts the cost of the attempts that it resumed, so those are left out here.
    for run in search_runs(client, cut, order=OLDEST):
        if run.info.run_id not in resumed:
            taken.append(_cut_short(run))
    return Costs(taken, len(pipelines), unmeasured)


def _measured_cost(run: Run, stage: str, cost: dict[str, Any]) -> StageCost:
    place = (run.info.run_id, preset_of(run), run.info.start_time / 1000, stage)
    lost = float(cost.get("lost", 0))
    if read_status(cost["status"]) == CACHED:
        # What an earlier attempt lost would not be spent again, so reusing does not save it.
        return StageCost(*place, CACHED, cost["device"], saved=cost["device_seconds"] - lost)
    return StageCost(
        *place, COMPUTED, cost["device"], cost["device_seconds"], lost, tokens=int(cost.get("tokens", 0)),
        memory=int(cost.get("memory", 0)), gpu_memory=int(cost.get("gpu_memory", 0)),
        repeated=int(cost.get("repeated", 0)),
    )  # fmt: skip


def _cut_short(run: Run) -> StageCost:
    """Return the cost of a stage that was killed or failed and never resumed: all of it is lost."""
    tags = run.data.tags
    device, count, began = _held_devices(tags, run.info.start_time / 1000)
    # The run of a stage is called "PRESET · STAGE".
    preset = (run.info.run_name or "").partition(" · ")[0]
    place = (tags.get("mlflow.parentRunId", run.info.run_id), preset, run.info.start_time / 1000)
    stage = tags["chatmill.stage"]
    if run.info.status in ("RUNNING", "SCHEDULED") or not run.info.end_time:
        return StageCost(*place, stage, _RUNNING, device)
    spent = max(0.0, (run.info.end_time / 1000 - began) * count)
    return StageCost(*place, stage, _ENDED, device, spent, spent)


def _held_devices(tags: Mapping[str, str], opened: float) -> tuple[str, float, float]:
    """Return the device that a stage held, how many, and since when, in seconds since 1970.

    None are held by a stage that waited for another process until it ended: it has no such tag. Tags of older
    versions lack the time, which is that of the run's start then. A changed tag counts as one CPU.
    """
    if HELD not in tags:
        return "cpu", 0, opened
    try:
        device, count, *since = json.loads(tags[HELD])
        return str(device), float(count), float(since[0]) if since else opened
    except (ValueError, TypeError, RecursionError):
        return "cpu", 1, opened


def sum_costs(taken: Iterable[StageCost], by: str) -> list[Sum]:
    """Return totals by "run", "week" or "stage".

    Runs and weeks are sorted by time, the newest first; stages by device-seconds, the most expensive first.
    """
    name: Callable[[StageCost], str] = {
        "run": lambda one: one.run,
        "week": lambda one: time.strftime("%G-W%V", time.localtime(one.began)),
        "stage": lambda one: one.stage,
    }[by]
    sums: dict[str, Sum] = {}
    for one in sorted(taken, key=lambda one: -one.began):
        sums.setdefault(name(one), Sum(name(one))).add(one)
    if by == "stage":
        return sorted(sums.values(), key=lambda one: (-one.gpu_seconds, -one.cpu_seconds, one.name))
    return list(sums.values())


def in_all(taken: Iterable[StageCost]) -> Sum:
    """Return the total of all costs."""
    whole = Sum("in all")
    for one in taken:
        whole.add(one)
    return whole
