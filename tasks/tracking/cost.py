"""What runs took, added up by run, week or stage; from MLflow alone, by two searches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tasks.tracking.queries import COST_TAG, PIPELINES, preset_of, search_runs

MADE, REUSED, _ENDED, _RUNNING = "made", "reused", "ended", "running"
OLDEST = ("attributes.start_time ASC",)


@dataclass(frozen=True)
class Taken:
    """What one stage took in one pipeline run, in device-seconds of `device` (cpu or cuda).

    `seconds` were spent, `lost` of them on what had to be done again or was not kept; `saved` is what a
    reused stage had taken. `state` is made, reused, ended (killed or failed and not gone on with) or running.
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
    """What several took together; memory is the most of any."""

    name: str
    made: int = 0
    reused: int = 0
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

    def add(self, taken: Taken) -> None:
        """One more."""
        self.made += taken.state == MADE
        self.reused += taken.state == REUSED
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
    """All that was found, and how many pipeline runs are of a chatmill that did not measure yet."""

    taken: list[Taken]
    runs: int
    unmeasured: int


def read_costs(client: MlflowClient, since: float) -> Costs:
    """Of all pipeline runs that began after `since`, in seconds since 1970."""
    later = f"attributes.start_time >= {int(since * 1000)}"
    pipelines = search_runs(client, f"{PIPELINES} and {later}", order=OLDEST)
    cut = f"tags.`chatmill.stage` LIKE '%' and attributes.status != 'FINISHED' and {later}"
    taken: list[Taken] = []
    resumed: set[str] = set()
    unmeasured = 0
    for run in pipelines:
        found = {
            tag.removeprefix(COST_TAG): json.loads(value)
            for tag, value in run.data.tags.items()
            if tag.startswith(COST_TAG)
        }
        unmeasured += not found and run.info.status == "FINISHED"
        for stage, cost in found.items():
            resumed.update(cost.get("runs", []))
            taken.append(_measured_cost(run, stage, cost))
    for run in search_runs(client, cut, order=OLDEST):
        if run.info.run_id not in resumed:
            taken.append(_cut_short(run))
    return Costs(taken, len(pipelines), unmeasured)


def _measured_cost(run: Run, stage: str, cost: dict[str, Any]) -> Taken:
    place = (run.info.run_id, preset_of(run), run.info.start_time / 1000, stage)
    lost = float(cost.get("lost", 0))
    if cost["status"] == REUSED:
        return Taken(*place, REUSED, cost["device"], saved=cost["device_seconds"] - lost)
    return Taken(
        *place, MADE, cost["device"], cost["device_seconds"], lost, tokens=int(cost.get("tokens", 0)),
        memory=int(cost.get("memory", 0)), gpu_memory=int(cost.get("gpu_memory", 0)),
        repeated=int(cost.get("repeated", 0)),
    )  # fmt: skip


def _cut_short(run: Run) -> Taken:
    """A stage that was killed or failed, and not gone on with: from its start to its end all is lost."""
    tags = run.data.tags
    device, count = json.loads(tags.get("chatmill.holds", '["cpu", 1]'))
    preset = (run.info.run_name or "").partition(" · ")[0]
    place = (tags.get("mlflow.parentRunId", run.info.run_id), preset, run.info.start_time / 1000)
    stage = tags["chatmill.stage"]
    if run.info.status in ("RUNNING", "SCHEDULED") or not run.info.end_time:
        return Taken(*place, stage, _RUNNING, device)
    spent = max(0.0, (run.info.end_time - run.info.start_time) / 1000 * count)
    return Taken(*place, stage, _ENDED, device, spent, spent)


def sum_costs(taken: Iterable[Taken], by: str) -> list[Sum]:
    """By run and week the newest first, by stage the dearest first."""
    name: Callable[[Taken], str] = {
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


def in_all(taken: Iterable[Taken]) -> Sum:
    """Everything in one."""
    whole = Sum("in all")
    for one in taken:
        whole.add(one)
    return whole
