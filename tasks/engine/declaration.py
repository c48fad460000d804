"""The declaration of a stage, and the part of it that a run records.

A stage's file holds its whole declaration, so that a new stage needs that file and one line of the pipeline.
The summary, MLflow, lineage, the comparison of runs, `gc`, reproduction and remote workers read it here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tasks.common.counts import counted


@dataclass(frozen=True)
class Tolerance:
    """The largest difference of a metric between a run and its reproduction.

    Args:
        metrics: Names of metrics; a longer name that ends in `_NAME` has the same tolerance.
        relative: Share of the metric's value.
        absolute: Amount in the metric's unit; the larger of both bounds applies.
    """

    metrics: tuple[str, ...]
    relative: float = 0.0
    absolute: float = 0.0

    def covers(self, metric: str) -> bool:
        """Return whether this tolerance applies to a metric."""
        return any(metric == name or metric.endswith(f"_{name}") for name in self.metrics)

    def bound(self, value: float) -> float:
        """Return the largest difference for a metric of this value."""
        return max(self.relative * abs(value), self.absolute)


@dataclass(frozen=True, kw_only=True)
class StageDeclaration:
    """The properties of a stage: its inputs, the rows it learns from, how its results are shown and kept."""

    inputs: tuple[str, ...] = ()
    """Input stages, whose output folders the function takes."""

    input_patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Glob patterns of folders by input stage; only these are seen and enter the cache key."""

    external_inputs: Callable[[Any, Path], Any] | None = None
    """`(parameters, root)` to a description of inputs that no stage made; it enters the cache key."""

    output_is_current: Callable[[Path, Path], bool] | None = None
    """`(folder, root)` to whether the files that the stage wrote outside `folder` are still valid."""

    resumable: bool = False
    """Whether the function continues in the folder of a killed run; other stages start in an empty one."""

    excluded_from_digest: tuple[str, ...] = ()
    """Folders of the output that its digest leaves out."""

    learns_from: tuple[str, ...] = ()
    """Kinds of rows in the training split that the stage's result is fitted to."""

    measures_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By part of the split, the kinds of held-out rows that the stage's metrics are measured on."""

    metrics_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By a pattern of metrics' names, the held-out rows that these are measured on, as in `test pairs`.

    The first pattern that fits counts. A metric that none fits is measured on all of `measures_on`.
    """

    metrics_from: tuple[str, ...] = ()
    """Stages whose metrics this stage repeats, and so the rows that these were measured on."""

    model: str = ""
    """Name under which `chatmill chat` finds the model in the output's folder `model`."""

    row_folders: tuple[str, ...] = ()
    """Folders of the output with a folder of rows for each kind; `gc` looks in them for withdrawn rows."""

    derived_rows: tuple[str, ...] = ()
    """Kinds of rows that the output holds in another form, in which single rows cannot be found."""

    origin_files: tuple[str, ...] = ()
    """Prefixes of files with the places of rows: a reproduction may find the same rows elsewhere."""

    artifacts: tuple[str, ...] = ()
    """Files of the output that MLflow keeps, besides the manifest, the model, curves and data docs."""

    headline: Callable[[Mapping[str, Any]], str] | None = None
    """Returns a short text about the metrics for the terminal; None shows nothing."""

    short_headline: Callable[[Mapping[str, Any]], str] | None = None
    """Returns the text of a stage's line while the run goes on; None: the headline."""

    tolerances: tuple[Tolerance, ...] = ()
    """Defaults for a reproduction without earlier ones to learn from; other metrics must be equal."""

    time_share: float = 0.0
    """Share of the training time that `chatmill init` plans for the stage."""

    def to_json(self) -> dict[str, Any]:
        """Return the part that a run records, so that later code explains the run by its own declaration."""
        recorded = {
            "inputs": list(self.inputs),
            "resumes": self.resumable,
            "learns_from": list(self.learns_from),
            "measures_on": {part: list(kinds) for part, kinds in self.measures_on.items()},
            "metrics_on": {pattern: list(rows) for pattern, rows in self.metrics_on.items()},
            "metrics_from": list(self.metrics_from),
        }
        return {name: value for name, value in recorded.items() if value}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> StageDeclaration:
        """Return a declaration with the recorded fields; the other fields have their defaults."""
        return cls(
            inputs=tuple(recorded.get("inputs", ())),
            resumable=bool(recorded.get("resumes", False)),
            learns_from=tuple(recorded.get("learns_from", ())),
            measures_on={part: tuple(kinds) for part, kinds in recorded.get("measures_on", {}).items()},
            metrics_on={pattern: tuple(rows) for pattern, rows in recorded.get("metrics_on", {}).items()},
            metrics_from=tuple(recorded.get("metrics_from", ())),
        )


def sort_stages(declared: Mapping[str, StageDeclaration]) -> list[str]:
    """Return stages in pipeline order: each after its inputs, and the most needed ones first.

    Args:
        declared: Declarations by the name of the stage; inputs that are missing are ignored.
    """
    depth = {name: 0 for name in declared}
    height = {name: 0 for name in declared}
    # A path through n stages has at most n - 1 steps; a damaged record with a loop ends there too.
    for _ in declared:
        before = (*depth.values(), *height.values())
        for name, found in declared.items():
            for given in found.inputs:
                if given in declared:
                    depth[name] = max(depth[name], depth[given] + 1)
                    height[given] = max(height[given], height[name] + 1)
        if before == (*depth.values(), *height.values()):
            break
    return sorted(declared, key=lambda name: (depth[name], -height[name], name))


def learning_stages(declared: Mapping[str, StageDeclaration], kind: str) -> set[str]:
    """Return the stages whose results are fitted to rows of a kind."""
    return {name for name, found in declared.items() if kind in found.learns_from}


def inheriting_stages(declared: Mapping[str, StageDeclaration], kind: str) -> set[str]:
    """Return the trainings that start from, or are guided by, a model that was fitted to rows of a kind."""
    learned = learning_stages(declared, kind)
    return descending_stages(declared, *learned) - learned


def descending_stages(declared: Mapping[str, StageDeclaration], *first: str) -> set[str]:
    """Return the trainings among some stages, and all that start from, or are guided by, their models."""
    # Trainings are the stages that resume from checkpoints; the other stages leave no model.
    trainings = {name: found for name, found in declared.items() if found.resumable}
    reached: set[str] = set()
    further = trainings.keys() & set(first)
    while further:
        reached |= further
        further = {
            name for name, found in trainings.items() if not reached.isdisjoint(found.inputs)
        } - reached
    return reached


def measuring_stages(declared: Mapping[str, StageDeclaration], kind: str, part: str) -> set[str]:
    """Return the stages that measure on rows of a kind in a part of the split."""
    return {name for name, found in declared.items() if kind in found.measures_on.get(part, ())}


def measured_rows(declared: Mapping[str, StageDeclaration], stage: str) -> dict[str, set[str]]:
    """Return, by part of the split, the kinds of held-out rows that a stage's metrics are measured on."""
    found: dict[str, set[str]] = {}
    for name in (stage, *declared[stage].metrics_from) if stage in declared else ():
        for part, kinds in declared[name].measures_on.items() if name in declared else ():
            found.setdefault(part, set()).update(kinds)
    return found


def measured_of(declared: Mapping[str, StageDeclaration], stage: str, metric: str) -> set[str]:
    """Return the held-out rows that a stage's metric is measured on, as in `test pairs`."""
    if stage in declared:
        for pattern, rows in declared[stage].metrics_on.items():
            if fnmatchcase(metric, pattern):
                return set(rows)
    parts = measured_rows(declared, stage)
    return {f"{part} {kind}" for part, kinds in parts.items() for kind in kinds}


def named_counts(*counts: tuple[str, str, str], none: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function for `headline` that shows counts: each metric that is not 0, with its unit.

    Args:
        counts: For each metric its name, the unit in the singular and in the plural.
        none: Text for the case that all counts are 0.
    """

    def headline(metrics: Mapping[str, Any]) -> str:
        there = [(int(metrics[name]), one, several) for name, one, several in counts if metrics.get(name)]
        return ", ".join(f"{n:,} {one if n == 1 else several}" for n, one, several in there) or none

    return headline


def named_metrics(
    *metrics: tuple[str, str], shares: Collection[str] = (), none: str = ""
) -> Callable[[Mapping[str, Any]], str]:
    """Return a function for `headline` that shows metrics with their intervals.

    Args:
        metrics: For each metric its name and the words that follow the value.
        shares: Names of metrics that are shown in percent.
        none: Text for the case that there is none of the metrics.
    """

    def headline(values: Mapping[str, Any]) -> str:
        return (
            ", ".join(
                f"{_format_metric(name, values, format_share if name in shares else format_number)} "
                f"{words if name in shares else _agreeing_words(name, values, words)}"
                for name, words in metrics
                if values.get(name) is not None
            )
            or none
        )

    return headline


def _agreeing_words(name: str, values: Mapping[str, Any], words: str) -> str:
    """Return the words after a metric, with their noun in the singular after a count of 1."""
    is_one = values[name] == 1 and f"{name}_low" not in values
    return counted(1, words).removeprefix("1 ") if is_one else words


def _format_metric(name: str, values: Mapping[str, Any], form: Callable[[Any], str]) -> str:
    return f"{form(values[name])}{format_interval(name, values, form)}"


def format_share(value: float) -> str:
    """Return a share from 0 to 1 in percent."""
    return f"{value:.1%}".replace(".0%", "%")


def format_number(value: Any) -> str:
    """Return a metric as a short text."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)


def format_interval(name: str, metrics: Mapping[str, Any], form: Callable[[Any], str] = format_number) -> str:
    """Return the interval of a metric and its n as text, or its n alone; empty if the metric has none."""
    low, high, n = (metrics.get(f"{name}_{end}") for end in ("low", "high", "n"))
    if n is None:
        return ""
    if low is None or high is None:
        return f" [n = {format_number(n)}]"
    return f" [{form(low)} to {form(high)}, n = {format_number(n)}]"


def find_tolerance(tolerances: Iterable[Tolerance], metric: str) -> Tolerance | None:
    """Return the first tolerance that covers a metric."""
    # The part before a slash names the metric; the rest is its aspect and source.
    plain = metric.split("/")[0].removesuffix("_low").removesuffix("_high")
    return next((found for found in tolerances if found.covers(plain)), None)
