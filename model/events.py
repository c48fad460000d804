"""Events that stages and trainings report while they run, and the JSON form in which they cross processes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# A quota is as full as a disk for the user.
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Message:
    """A sentence for the person who watches the run."""

    text: str


@dataclass(frozen=True)
class Step:
    """Progress: `step` of `steps` is done, with the metrics of that step and the pace until now."""

    step: int
    steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds_left: float | None = None
    tokens_per_second: float = 0.0
    megabytes_per_second: float = 0.0
    rows: int = 0


@dataclass(frozen=True)
class Evaluation:
    """Metrics on held-out rows after a step."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Resumed:
    """A training continues after the step of its last checkpoint."""

    step: int


@dataclass(frozen=True)
class Usage:
    """The resources that the work took: tokens in all, and the most bytes held on one GPU (0: not known)."""

    tokens: int = 0
    gpu_memory: int = 0


@dataclass(frozen=True)
class MarkdownTable:
    """A table in Markdown for Prefect's page and MLflow."""

    title: str
    markdown: str


@dataclass(frozen=True)
class ImportedSources:
    """SHA-256 digests of the module files that a training process imported, by module name."""

    modules: Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """The return value of the function in a training process; the launcher keeps it."""

    value: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """The failure of a training process, raised by the launcher.

    `kind` is `user`, `full` (disk), `memory` (too little) or `crash`.
    """

    kind: str
    text: str
    traceback: str


Event = Message | Step | Evaluation | Resumed | Usage | MarkdownTable | ImportedSources | Result | Failure
EventCallback = Callable[[Event], None]

_TYPES: dict[str, type[Event]] = {
    "message": Message,
    "step": Step,
    "evaluation": Evaluation,
    "resumed": Resumed,
    "usage": Usage,
    "table": MarkdownTable,
    "sources": ImportedSources,
    "result": Result,
    "error": Failure,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def ignore_event(event: Event) -> None:
    """Do nothing: a callback for work that nobody watches."""


def to_json(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object; its key `event` names the type."""
    return {"event": _NAMES[type(event)], **asdict(event)}


def from_json(values: Any) -> Event | None:
    """Return the event that `to_json` wrote; None for anything else."""
    if not isinstance(values, dict):
        return None
    kind = _TYPES.get(str(values.get("event")))
    try:
        return kind(**{name: value for name, value in values.items() if name != "event"}) if kind else None
    # A line of another version has other fields; the launcher writes it to the log.
    except TypeError:
        return None
