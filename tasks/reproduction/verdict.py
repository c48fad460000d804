"""The verdict on a reproduction: stage by stage, by bits or else by metrics.

The tolerance of a metric is learned from repetitions of the same training with other bits. With fewer than
three of them a default applies: about the difference between three seeds of the demo (docs/RESULTS.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from tasks.engine.catalog import read_declaration
from tasks.engine.declaration import StageDeclaration, find_tolerance
from tasks.tracking.cache_explanation import InputDifference, explain_differences
from tasks.tracking.run_diff import LAST_STEP, is_speed

IDENTICAL, EQUIVALENT, DIVERGED = "identical", "equivalent", "diverged"
# The state of a stage whose inputs are gone: it gets no verdict, and does not affect that of the run.
_LEFT_OUT = "left out"
REPETITIONS = 3
CONFIDENCE = 0.99
HASH = "data_hash"


@dataclass(frozen=True)
class StageResult:
    """The result of a stage: the digest of its output, its metrics, and its manifest if available."""

    stage: str
    digest: str
    figures: Mapping[str, Any]
    manifest: Mapping[str, Any] | None = None

    @property
    def declaration(self) -> StageDeclaration:
        """The stage's present declaration, since the tolerances are those of the code that judges."""
        return read_declaration(self.stage, None)


@dataclass(frozen=True)
class Figure:
    """A metric that differs, and its tolerance around `about`: its value, or the mean of repetitions."""

    name: str
    before: Any
    now: Any
    about: float
    tolerance: float
    learned: int

    @property
    def within(self) -> bool:
        """True if the metric is within its tolerance."""
        both = (self.before, self.now)
        if not all(isinstance(value, int | float) for value in both):
            return bool(self.before == self.now)
        return abs(self.now - self.about) <= self.tolerance

    def __str__(self) -> str:
        how = f"{self.learned} repetitions" if self.learned else "default"
        bound = f"allowed {_shorten_value(self.about)} ± {self.tolerance:.2g}, {how}"
        if not isinstance(self.now, int | float) or isinstance(self.now, bool) or not self.tolerance:
            bound = "must be the same"
        return f"{self.name} {_shorten_value(self.before)} → {_shorten_value(self.now)} ({bound})"


@dataclass(frozen=True)
class StageVerdict:
    """The verdict on one stage: its reason, the metrics that differ, and the inputs that differ."""

    stage: str
    says: str
    reason: str
    figures: tuple[Figure, ...] = ()
    differ: tuple[InputDifference, ...] = field(default=())


def judge_stages(
    before: Sequence[StageResult],
    now: Mapping[str, StageResult],
    repetitions: Mapping[str, Sequence[StageResult]],
    environments: tuple[Mapping[str, str], Mapping[str, str]],
    left_out: Mapping[str, str] | None = None,
) -> list[StageVerdict]:
    """Compare every stage of a run with its reproduction, in order.

    Args:
        before: The results of the run.
        now: The results of the reproduction by stage.
        repetitions: Results of other runs of the same stages, from which tolerances are learned.
        environments: The recorded environment of both runs by name: threads, processor and the like.
        left_out: Stages that are not judged, with the reason.
    """
    no = left_out or {}
    judged = [
        StageVerdict(made.stage, _LEFT_OUT, no[made.stage])
        if made.stage in no
        else _judge_stage(made, now.get(made.stage), repetitions.get(made.stage, ()), environments)
        for made in before
    ]
    # A deleted record would otherwise pass for a stage that the run did not have.
    lost = [stage for stage in now if stage not in {made.stage for made in before}]
    return judged + [StageVerdict(stage, _LEFT_OUT, "MLflow has no record of it") for stage in lost]


def overall_verdict(verdicts: Sequence[StageVerdict]) -> str:
    """Return the verdict on the run: the worst of its stages."""
    said = {each.says for each in verdicts}
    return next(word for word in (DIVERGED, EQUIVALENT, IDENTICAL) if word in said or word == IDENTICAL)


def verdict_sentence(verdicts: Sequence[StageVerdict]) -> str:
    """Return the verdict in words, with the first stage that differs and the differences in its inputs."""
    says = overall_verdict(verdicts)
    no = "".join(f"; {each.stage} is left out: {each.reason}" for each in verdicts if each.says == _LEFT_OUT)
    verdicts = [each for each in verdicts if each.says != _LEFT_OUT]
    if says == IDENTICAL:
        stages = "the one stage has" if len(verdicts) == 1 else f"all {len(verdicts)} stages have"
        return f"identical: {stages} identical bits{no}"
    first = next(each for each in verdicts if each.says != IDENTICAL)
    same = sum(each.says == IDENTICAL for each in verdicts)
    cause = f"bits differ from {first.stage} on: {inputs_in_words(first)}"
    if says == EQUIVALENT:
        return (
            f"equivalent: {same} of {len(verdicts)} stages have identical bits, the metrics of "
            f"the others are within tolerance; {cause}{no}"
        )
    worst = next(each for each in verdicts if each.says == DIVERGED)
    return f"diverged at {worst.stage}: {worst.reason}; {cause}{no}"


def inputs_in_words(verdict: StageVerdict, most: int = 4) -> str:
    """Return the differences in the inputs of a stage, in words."""
    if not verdict.differ:
        return (
            "no recorded difference in code, data, parameters, packages, device or threads, so "
            "this stage is not deterministic here"
        )
    told = [
        f"{each.kind} {each.name} {_brief_value(each.before)} → {_brief_value(each.now)}".replace("  ", " ")
        for each in verdict.differ[:most]
    ]
    more = f" and {len(verdict.differ) - most} more" if len(verdict.differ) > most else ""
    return f"{', '.join(told)}{more}"


def _judge_stage(
    before: StageResult,
    now: StageResult | None,
    repeated: Sequence[StageResult],
    environments: tuple[Mapping[str, str], Mapping[str, str]],
) -> StageVerdict:
    if now is None:
        return StageVerdict(before.stage, DIVERGED, "it was not computed this time")
    if before.digest == now.digest:
        return StageVerdict(before.stage, IDENTICAL, "")
    if _same_rows(before, now):
        return StageVerdict(before.stage, IDENTICAL, "identical rows; only their recorded origins differ")
    figures = tuple(_differing_metrics(before, now, repeated))
    differ = tuple(_differing_inputs(before, now, environments))
    beyond = [figure for figure in figures if not figure.within]
    if beyond:
        return StageVerdict(before.stage, DIVERGED, "; ".join(map(str, beyond[:3])), figures, differ)
    files = _differing_files(before, now)
    reason = f"in other bits ({files}); " if files else "in other bits; "
    learned = max((figure.learned for figure in figures), default=0)
    how = f"learned from {learned} repetitions" if learned else "the default"
    reason += f"metrics within tolerance, {how}" if figures else "the same metrics"
    return StageVerdict(before.stage, EQUIVALENT, reason, figures, differ)


def _same_rows(before: StageResult, now: StageResult) -> bool:
    """Return whether a stage of the data has the same rows, by checksums or else by DVC's hash."""
    # The places of rows differ if a version of the data replaced its sources.
    places = before.declaration.origin_files
    if not places:
        return False
    sums = [_file_sums(made) for made in (before, now)]
    if sums[0] is None or sums[1] is None:
        hashes = [made.figures.get(HASH) for made in (before, now)]
        return hashes[0] is not None and hashes[0] == hashes[1]
    kept = [{n: s for n, s in found.items() if not n.startswith(places)} for found in sums if found]
    return len(kept) == 2 and kept[0] == kept[1]


def _file_sums(made: StageResult) -> Mapping[str, str] | None:
    found: Mapping[str, str] | None = (made.manifest or {}).get("sums")
    return found


def _differing_files(before: StageResult, now: StageResult, most: int = 3) -> str:
    """Return the names of files that differ; empty if a manifest is too old to have checksums."""
    one, two = _file_sums(before), _file_sums(now)
    if one is None or two is None:
        return ""
    names = [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _differing_metrics(
    before: StageResult, now: StageResult, repeated: Sequence[StageResult]
) -> list[Figure]:
    """Return the metrics that differ, without speed and without those that only repetitions could judge."""
    # Repetitions with the same bits do not show how far other bits may differ.
    others = list({made.digest: made for made in (before, *repeated) if made.digest != now.digest}.values())
    found = []
    for name in dict.fromkeys([*before.figures, *now.figures]):
        old, new = before.figures.get(name), now.figures.get(name)
        if old == new or is_speed(name) or (isinstance(old, str) and name != HASH):
            continue
        if not _is_number(old) or not _is_number(new):
            found.append(Figure(name, old, new, math.nan, 0.0, 0))
            continue
        values = [float(made.figures.get(name, math.nan)) for made in others]
        values = [value for value in values if math.isfinite(value)]
        # Fewer values give no usable standard deviation, and equal ones give 0.
        if len(values) >= REPETITIONS and (spread := stdev(values)):
            # The prediction interval for one more value of a normal distribution: t · s · √(1 + 1/n).
            half = _t_quantile(len(values) - 1) * spread * math.sqrt(1 + 1 / len(values))
            found.append(Figure(name, old, new, mean(values), half, len(values)))
        elif not before.declaration.resumable or name not in LAST_STEP:
            about = float(before.figures[name])
            tolerance = find_tolerance(before.declaration.tolerances, name)
            found.append(Figure(name, old, new, about, tolerance.bound(about) if tolerance else 0.0, 0))
    return found


def _t_quantile(freedom: int) -> float:
    """Return the quantile of Student's t for a prediction interval with probability CONFIDENCE."""
    # Imported late: scipy takes long to import, and most verdicts do not need it.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _differing_inputs(
    before: StageResult, now: StageResult, environments: tuple[Mapping[str, str], Mapping[str, str]]
) -> list[InputDifference]:
    """Return the recorded differences in everything that a stage was made from."""
    found = []
    if before.manifest and now.manifest:
        # `place_data` set the remote, and whether a version replaces the sources, for this run.
        found = [
            each
            for each in explain_differences(before.manifest, now.manifest)
            if before.stage != "ingest" or each.kind not in ("parameter", "outside")
        ]
        if before.manifest["device"] != now.manifest["device"] and "device" not in {e.kind for e in found}:
            found.append(InputDifference("device", "", before.manifest["device"], now.manifest["device"]))
    one, two = environments
    return found + [
        InputDifference(name, "", one[name], two[name])
        for name in one
        if one[name] and name in two and one[name] != two[name]
    ]


def _is_number(value: Any) -> bool:
    # In Python a bool is an int, but it has no distance.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shorten_value(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _brief_value(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= 40 else f"{value[:12]}…"
