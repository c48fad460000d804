"""The cost of a stage's output: device-seconds, memory and tokens, over all attempts if the stage resumes."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from model.events import Event, EventCallback, Resumed, Step, Usage

SPENT = "spent.json"
# The pause between two samples is this share of the time so far, within these bounds. A sample reads the list
# of all processes and writes all steps, which would take 5% of a core twice a second.
_PAUSE_SHARE, _SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5, 10.0


@dataclass(frozen=True)
class ResourceUsage:
    """The resources that an output took, earlier attempts included; None means that there is no such value.

    Attributes:
        device: "cpu" or "cuda".
        devices: The number of devices that were held; on a CPU, of processes.
        seconds: Wall-clock seconds.
        device_seconds: Seconds times devices.
        memory: The largest memory of the process and those it started together, in bytes. What they share
            counts once.
        gpu_memory: The largest memory on one device, in bytes.
        tokens: The number of tokens that were processed.
        lost: Device-seconds of work that had to be repeated.
        repeated: Optimizer steps that had to be repeated.
        runs: MLflow runs of the earlier attempts.
    """

    device: str = "cpu"
    devices: int = 1
    seconds: float = 0.0
    device_seconds: float = 0.0
    memory: int | None = None
    gpu_memory: int | None = None
    tokens: int | None = None
    lost: float = 0.0
    repeated: int = 0
    runs: tuple[str, ...] = ()


@dataclass
class Attempts:
    """The cost of earlier attempts, and by step the device-seconds that led to it, without lost ones."""

    cost: ResourceUsage
    steps: list[tuple[int, float]] = field(default_factory=list)


class ResourceMeter:
    """A context that measures resources; `cost` is what all attempts took together.

    If the output `resumes`, the cost is kept in a file in the folder `part` between attempts.
    """

    def __init__(
        self,
        part: Path,
        device: str,
        devices: int,
        on_event: EventCallback,
        run: str = "",
        resumes: bool = False,
    ) -> None:
        self.path = part / SPENT if resumes else None
        self.forward, self.run = on_event, run
        self.before = _read_usage(self.path)
        self.cost = replace(self.before.cost, device=device, devices=devices)
        self.steps: list[tuple[int, float]] = []
        self.settled = not self.before.cost.device_seconds
        self.began = 0.0
        self.ended = threading.Event()
        self.looking = threading.Thread(target=self._look_often, name="meter", daemon=True)
        self.here = psutil.Process()
        self.others: set[int] = set()

    def __enter__(self) -> ResourceMeter:
        self.began = time.monotonic()
        # A server that the program started before is not part of the stage.
        self.others = {process.pid for process in self.here.children(recursive=True)}
        self._sample_memory()
        self.looking.start()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self.ended.set()
        # The thread writes `cost` too; a last sample while it runs could be overwritten by an older one.
        self.looking.join()
        self._sample_memory()
        if kind:
            self._keep_usage()
            return
        self._resumed_from(0)
        if self.path:
            for path in (self.path, self.path.with_suffix(".new")):
                path.unlink(missing_ok=True)

    def report_event(self, event: Event) -> None:
        """Record the resources that an event carries; pass all other events on."""
        if isinstance(event, Usage):
            self._count_usage(event)
            return
        if isinstance(event, Resumed):
            self._resumed_from(event.step)
            return
        if isinstance(event, Step) and self.path:
            self.steps.append((event.step, self._seconds_spent() - self.cost.lost))
        self.forward(event)

    def _count_usage(self, event: Usage) -> None:
        if event.gpu_memory:
            most = max(self.cost.gpu_memory or 0, event.gpu_memory)
            self.cost = replace(self.cost, gpu_memory=most)
        if event.tokens:
            self.cost = replace(self.cost, tokens=event.tokens)

    def _resumed_from(self, step: int) -> None:
        """Count the work of the attempt before that came after `step` as lost; only once in an attempt."""
        if self.settled:
            return
        self.settled = True
        whole = self.before.cost.device_seconds
        kept = max((spent for done, spent in self.before.steps if done <= step), default=0.0)
        last = max((done for done, _ in self.before.steps), default=step)
        lost = whole - kept
        repeated = self.before.cost.repeated + max(0, last - step)
        self.cost = replace(self.cost, lost=round(lost, 3), repeated=repeated)
        self.steps = [(done, spent) for done, spent in self.before.steps if done <= step] + self.steps

    def _seconds_spent(self) -> float:
        own = (time.monotonic() - self.began) * self.cost.devices
        return round(self.before.cost.device_seconds + own, 3)

    def _look_often(self) -> None:
        while not self.ended.wait(self._pause()):
            self._sample_memory()
            self._keep_usage()

    def _pause(self) -> float:
        spent = time.monotonic() - self.began
        return min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, _PAUSE_SHARE * spent))

    def _sample_memory(self) -> None:
        used = resident_share(self.here)
        for process in self.here.children(recursive=True):
            if process.pid not in self.others:
                # A process may end between its listing and this call.
                with suppress(psutil.Error):
                    used += resident_share(process)
        self.cost = replace(
            self.cost,
            seconds=round(self.before.cost.seconds + time.monotonic() - self.began, 3),
            device_seconds=self._seconds_spent(),
            memory=max(self.cost.memory or 0, used),
        )

    def _keep_usage(self) -> None:
        if self.path is None:
            return
        runs = tuple(dict.fromkeys([*self.cost.runs, self.run] if self.run else self.cost.runs))
        # An attempt that has not resumed yet may be killed again. Its own work is lost then, so the former
        # steps are kept.
        steps = self.steps if self.settled else self.before.steps
        text = json.dumps({"cost": asdict(replace(self.cost, runs=runs)), "steps": steps})
        part = self.path.with_suffix(".new")
        with suppress(OSError):
            part.write_text(text)
            # A kill may come at any moment, so the file is replaced as a whole.
            part.replace(self.path)


def resident_share(process: psutil.Process) -> int:
    """Return the bytes of memory that a process holds, those that it shares with others in part.

    The shares of several processes add up to what they hold together. The processes of a training share the
    weights of a model file, gradients and the code of libraries. Linux alone tells the share ("Pss" in
    proc_pid_smaps(5)); elsewhere the whole is returned.
    """
    try:
        held = process.memory_full_info()
        return int(getattr(held, "pss", held.rss))
    except psutil.AccessDenied:
        return int(process.memory_info().rss)


def _read_usage(path: Path | None) -> Attempts:
    try:
        found = json.loads(path.read_text()) if path else {}
        cost = ResourceUsage(**{**found["cost"], "runs": tuple(found["cost"]["runs"])})
        return Attempts(cost, [(int(step), float(spent)) for step, spent in found["steps"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Attempts(ResourceUsage())


def plain_cost(cost: ResourceUsage) -> dict[str, Any]:
    """Return a cost as a manifest holds it, without empty values."""
    return {name: value for name, value in asdict(cost).items() if value not in (None, (), "")}
