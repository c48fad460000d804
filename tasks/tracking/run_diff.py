"""Differences between two pipeline runs: code, data, parameters, lock file, device, metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from model.errors import UserError
from tasks.common.counts import counted
from tasks.common.metric_labels import BELOW_ZERO, is_below_zero, metric_words
from tasks.common.names import plain_keys
from tasks.common.old_keys import rename_stage_parameters
from tasks.data.records import LABEL_KINDS
from tasks.engine.catalog import read_declaration
from tasks.engine.declaration import StageDeclaration, measured_of, measured_rows, sort_stages
from tasks.tracking.lineage import model_run
from tasks.tracking.parameter_diff import parameter_differences
from tasks.tracking.products import find_version, is_version
from tasks.tracking.queries import (
    PARENT,
    REGISTERED_STAGE,
    child_runs,
    data_hash,
    holder_run_id,
    maker_runs,
    read_artifact,
    run_or_none,
    search_runs,
)

_GONE = "gone"
RUN_ID_CHARS = 8  # characters of a run id that are shown
_ENVIRONMENT_TAGS = {
    "git commit": "git.commit",
    "git diff": "git.dirty",
    "project commit": "project.commit",
    "lock": "lock.digest",
    "device": "device",
}

# Metrics of the last step's batch only, which say little about a training.
LAST_STEP = {
    "loss", "gradient_norm", "learning_rate_scale", "reward", "kl", "length", "ends_by_itself", "distinct",
    "length_ratio", "kl_coefficient", "policy_loss", "value_loss", "clipped_share", "entropy", "step_kl",
    "kl_after", "undone", "first_ratio_off", "learning_rate",
}  # fmt: skip
MODEL, LAST, MACHINE = "model", "last step", "machine"
APART = {
    LAST: "metrics of the last batch only, which vary from step to step",
    MACHINE: "speed and cost, which depend on the machine and its load",
}
UNLIKE = (
    "* The two runs measured this on different held-out rows, so the change says nothing about the models."
)
RESCORED = (
    "^ Another judge or reward model gave the scores of the second run, so the change may come from it."
)
CHANCE = "~ The 95% intervals of the two runs overlap, so the change may be chance."
# Metrics of the evaluation that tell whether a model is better, in the order in which they are shown.
MAIN_METRICS = (
    "aligned_judge", "judge_gain", "judge_gain_over_base", "win_rate", "champion_win_rate", "kl",
    "loss_increase", "base_answer_loss_change", "test_pair_accuracy", "sft_ends_by_itself",
    "aligned_ends_by_itself", "length_ratio", "base_bits_per_byte",
)  # fmt: skip
_EVALUATE = "evaluate"
# The ends of the names of metrics that are scores by a model, by the stage that trains it.
_SCORED_BY = {
    "judge": ("_judge", "judge_gain", "judge_gain_over_base", "win_rate"),
    "reward": ("_reward", "reward_gain"),
}
# Metrics of cost rather than result: they differ from run to run.
SPEED = ("seconds", "tokens_per_second", "goodput", "flops_utilization", "peak_memory", "memory")


def is_speed(figure: str) -> bool:
    """Return whether a metric depends on the machine rather than on the model."""
    return figure.startswith((*SPEED, "cost/")) or figure.endswith((*SPEED, "_per_second", "_bytes_peak"))


def tells_of(declaration: StageDeclaration, figure: str) -> str:
    """Return what a stage's metric depends on: the model, a training's last step only, or the machine."""
    if is_speed(figure):
        return MACHINE
    # Stages that resume from checkpoints are the trainings.
    return LAST if declaration.resumable and figure in LAST_STEP else MODEL


def main_differences(rows: Iterable[Difference]) -> list[Difference]:
    """Return the differences of `MAIN_METRICS`, in their order."""
    found = {row.name: row for row in rows if row.kind == "figure" and row.stage == "evaluate"}
    return [found[name] for name in MAIN_METRICS if name in found]


def is_apart(row: Difference, what: str) -> bool:
    """Return whether a difference is a metric of this category, as `tells_of` returns it."""
    return row.kind == "figure" and row.about == what


@dataclass(frozen=True)
class HeldOut:
    """Held-out rows of one kind in one part of the split: their number, and a digest over all of them."""

    n: int
    digest: str

    def __str__(self) -> str:
        return (
            f"{counted(self.n, 'rows')}, {self.digest[:8]}" if self.digest else f"{counted(self.n, 'rows')}"
        )


@dataclass(frozen=True)
class Facts:
    """The recorded properties of one pipeline run, by stage if they belong to a stage.

    `scorers` has the digests of the models that scored the answers, by their stages.
    """

    run: str
    environment: dict[str, str]
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    held_out: dict[str, HeldOut] = field(default_factory=dict)
    scorers: dict[str, str] = field(default_factory=dict)
    declared: dict[str, StageDeclaration] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One difference between two runs.

    Attributes:
        kind: The kind of property, such as "parameter".
        stage: The stage, or an empty text.
        name: The name of the property.
        before: The value in the first run; None if that run has none.
        now: The value in the second run; None if that run has none.
        change: For a metric, the second value less the first.
        label: A metric's name in words; empty for other properties.
        unlike: The metric was measured on other held-out rows, so `change` means little.
        rescored: The metric is the score of another judge or reward model, so `change` means little.
        about: What a metric depends on: `MODEL`, `LAST` or `MACHINE`.
    """

    kind: str
    stage: str
    name: str
    before: Any
    now: Any
    change: float | None = None
    unlike: bool = False
    about: str = MODEL
    label: str = ""
    rescored: bool = False

    @property
    def by_chance(self) -> bool:
        """Whether both values have 95% intervals, and these overlap."""
        one, two = self.before, self.now
        if (
            self.unlike
            or self.rescored
            or not (isinstance(one, IntervalMetric) and isinstance(two, IntervalMetric))
        ):
            return False
        return max(one.low, two.low) <= min(one.high, two.high)

    @property
    def change_text(self) -> str:
        """The change with its mark, `*`, `^` or `~`; empty if there is no change."""
        if self.change is None:
            return ""
        mark = " *" if self.unlike else " ^" if self.rescored else " ~" if self.by_chance else ""
        return f"{self.change:+.4g}{mark}"


def mark_notes(rows: Iterable[Difference]) -> list[str]:
    """Return a sentence for each mark that the changes of some rows have, and for an estimate below 0."""
    shown = [row for row in rows if row.change is not None]
    notes = (
        (UNLIKE, any(row.unlike for row in shown)),
        (RESCORED, any(row.rescored and not row.unlike for row in shown)),
        (CHANCE, any(row.by_chance for row in shown)),
        (BELOW_ZERO, any(is_below_zero(row.name, low) for row in shown for low in _interval_lows(row))),
    )
    return [note for note, needed in notes if needed]


def _interval_lows(row: Difference) -> list[float]:
    return [value.low for value in (row.before, row.now) if isinstance(value, IntervalMetric)]


@dataclass(frozen=True)
class IntervalMetric:
    """A metric with its 95% interval, which are three metrics in MLflow."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def join_intervals(figures: Mapping[str, float]) -> dict[str, float | IntervalMetric]:
    """Return metrics by name, those with both ends of an interval as one value each."""
    ends = {name: (f"{name}_low", f"{name}_high") for name in figures}
    whole = {name: pair for name, pair in ends.items() if all(end in figures for end in pair)}
    joined = {end for pair in whole.values() for end in pair}
    return {
        name: IntervalMetric(value, *(figures[end] for end in whole[name])) if name in whole else value
        for name, value in figures.items()
        if name not in joined
    }


def _number(value: float | IntervalMetric) -> float:
    return value.value if isinstance(value, IntervalMetric) else value


def find_run(client: MlflowClient, name: str) -> Run:
    """Return the pipeline run of an MLflow id or its start, a stage's run, a version's number, or champion.

    Raises:
        UserError: No run matches, or several do.
    """
    # A full id first: it may consist of digits only, as a version's number does.
    run = run_or_none(client, name) if len(name) == 32 else None
    if run is None and is_version(name):
        run = run_or_none(client, model_run(client, name)[0])
    if run is None:
        fits = search_runs(client, f"attributes.run_id LIKE '{name}%'", most=2) if name.isalnum() else []
        if len(fits) != 1:
            said = (
                "matches several runs: give more characters"
                if fits
                else "is not a run: MLflow's page lists run ids"
            )
            raise UserError(f"{name!r} {said}, or give a model's version, as 3 or NAME/3")
        run = fits[0]
    parent = run.data.tags.get(PARENT, "")
    above = run_or_none(client, parent) if parent else run
    if above is None:
        raise UserError(f"the pipeline run {parent} of {name!r} is missing in MLflow: compare another")
    return above


def run_labels(client: MlflowClient, runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Return a short label for each pipeline run: its model's version, or else the name of the run.

    Args:
        client: A client of the MLflow store.
        runs: The pipeline runs.
        names: What the user typed for each. A version is taken as it is, since runs may share a model.
    """
    labels = [_run_label(client, run, name) for run, name in zip(runs, names, strict=True)]
    ids = [run.info.run_id[:RUN_ID_CHARS] for run in runs]
    # Two runs of one name can only be told apart by their ids.
    return [
        f"{label} ({each})" if labels.count(label) > 1 else label
        for label, each in zip(labels, ids, strict=True)
    ]


def _run_label(client: MlflowClient, run: Run, name: str) -> str:
    version = registered_version(client, run, name)
    if version is not None:
        return f"{version.name}/{version.version}"
    return run.info.run_name or run.info.run_id[:RUN_ID_CHARS]


def registered_version(client: MlflowClient, run: Run, name: str) -> Any:
    """Return the version that a user typed, or the only one with the model of the run; else None."""
    if is_version(name):
        return find_version(client, name)
    stages = {each.data.tags.get("chatmill.stage", ""): each for each in child_runs(client, run)}
    holder = holder_run_id(stages[REGISTERED_STAGE]) if REGISTERED_STAGE in stages else ""
    found = client.search_model_versions(f"run_id='{holder}'") if holder else []
    return found[0] if len(found) == 1 else None


def describe_run(run: Run) -> str:
    """Return the name of a pipeline run, which has its preset and time, and the beginning of its id."""
    return f"{run.info.run_name or 'unnamed'}, run {run.info.run_id[:RUN_ID_CHARS]}"


def run_facts(client: MlflowClient, parent: Run) -> Facts:
    """Return the properties that MLflow holds of a pipeline run and its stages."""
    tags = parent.data.tags
    known = Facts(parent.info.run_id, {name: tags.get(tag, _GONE) for name, tag in _ENVIRONMENT_TAGS.items()})
    preset = read_artifact(client, parent, "preset.json") or {}
    known.environment["seed"] = str(preset.get("seed", _GONE))
    runs = child_runs(client, parent)
    made_by = maker_runs(client, runs)
    for run in runs:
        name = run.data.tags.get("chatmill.stage", "")
        known.parameters[name] = rename_stage_parameters(name, plain_keys(run.data.params))
        # The metrics of a reused training are in the run that made it.
        maker = made_by.get(holder_run_id(run), run)
        known.figures[name] = plain_keys(maker.data.metrics)
        manifest = (
            read_artifact(client, made_by[holder_run_id(run)], "manifest.json")
            if holder_run_id(run) in made_by
            else None
        )
        known.code[name] = (manifest or {}).get("code", _GONE)
        known.declared[name] = read_declaration(name, (manifest or {}).get("declaration"))
        if name == _EVALUATE:
            known.scorers.update(_scorers(manifest or {}))
        if name == "split":
            known.held_out.update(_held_out(manifest or {}, known.figures[name]))
        known.environment.setdefault("data", data_hash(run) or _GONE)
    known.environment.setdefault("data", _GONE)
    return known


def _scorers(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the models whose scores an evaluation has, from its manifest."""
    inputs = manifest.get("inputs") or {}
    return {stage: str(inputs[stage].get("digest", "")) for stage in _SCORED_BY if stage in inputs}


def _is_rescored(figure: str, changed: Collection[str]) -> bool:
    """Return whether a metric of the evaluation is a score of one of the changed models."""
    return any(figure.endswith(_SCORED_BY[stage]) for stage in changed)


def _held_out(manifest: Mapping[str, Any], figures: Mapping[str, float]) -> dict[str, HeldOut]:
    """Return a split's held-out rows from its manifest, by part and kind, as in `test pairs`."""
    sums = manifest.get("sums") or {}
    found = {}
    for part in ("valid", "test"):
        for kind in ("text", "pairs", *LABEL_KINDS):
            mine = sorted((name, each) for name, each in sums.items() if name.startswith(f"{part}/{kind}/"))
            digest = hashlib.sha256(repr(mine).encode()).hexdigest() if mine else ""
            # Manifests of older runs have no checksums; their metrics still have the number of rows.
            if mine or f"{part}_{kind}" in figures:
                found[f"{part} {kind}"] = HeldOut(int(figures.get(f"{part}_{kind}", 0)), digest)
    return found


def run_differences(before: Facts, now: Facts) -> list[Difference]:
    """Return all differences: causes first, metrics last."""
    found = [Difference("run", "", *row) for row in _differing_values(before.environment, now.environment)]
    found += [
        Difference("code", stage, "", one, two)
        for stage, one, two in _differing_values(before.code, now.code)
    ]
    for stage, one, two in _stage_differences(before.parameters, now.parameters):
        found += [Difference("parameter", stage, *row) for row in parameter_differences(one, two)]
    held_out = _differing_values(before.held_out, now.held_out)
    found += [Difference("held-out rows", "split", *row) for row in held_out]
    exams = {name for name, _, _ in held_out}
    # A run without a judge, or an old one, does not tell which model scored.
    rescored = {
        stage for stage in before.scorers if now.scorers.get(stage, "") not in ("", before.scorers[stage])
    }
    # The gate's score is that metric of the evaluation by which models compete.
    copied = [value for name, value in now.figures.get(_EVALUATE, {}).items() if _is_rescored(name, rescored)]
    figures = []
    declared = {**before.declared, **now.declared}
    for stage, one, two in _stage_differences(before.figures, now.figures):
        evaluates = bool(measured_rows(declared, stage)) and not declared[stage].resumable
        declaration = declared.get(stage, StageDeclaration())
        for name, old, new in _differing_values(join_intervals(one), join_intervals(two)):
            change = _number(new) - _number(old) if old is not None and new is not None else None
            about = tells_of(declaration, name)
            unlike = about == MODEL and not exams.isdisjoint(measured_of(declared, stage, name))
            # A training's own metrics have short names that mean something else in an evaluation.
            label = metric_words(name) if evaluates else name.replace("_", " ")
            ranks = (stage, name) == ("gate", "score") and new in copied
            other = ranks or (stage == _EVALUATE and _is_rescored(name, rescored))
            figures.append(Difference("figure", stage, name, old, new, change, unlike, about, label, other))
    # The decisive metrics come first: those on held-out rows, the last stage before the others.
    first = [stage for stage in reversed(sort_stages(declared)) if measured_rows(declared, stage)]
    return found + sorted(
        figures, key=lambda row: first.index(row.stage) if row.stage in first else len(first)
    )


def _differing_values(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    names = dict.fromkeys([*one, *two])
    return [(name, one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)]


def _stage_differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, one.get(name, {}), two.get(name, {})) for name in dict.fromkeys([*one, *two])]
