"""The part of `chatmill run --dry-run` about the stages: which ones a run would compute, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.explain import summarize_differences
from flows.common.terminal import terminal_text
from flows.orchestration.tracker import open_tracker
from tasks.common.counts import counted
from tasks.common.stage_status import CACHED, COMPUTED
from tasks.project.paths import ARTIFACTS, STORES

if TYPE_CHECKING:
    from flows.config import Preset
    from flows.pipeline_plan import PlannedStage

_SHARED = "[dim]an output that is at data.remote already is fetched, and not computed[/dim]"
_COLOURS = {CACHED: "cyan", COMPUTED: "green"}


def preview_stages(preset: Preset, root: Path, folder: Path) -> list[str]:
    """Return the lines about the stages of a run, as rich markup.

    Args:
        preset: The preset.
        root: The project's folder.
        folder: The outputs of an open dry run, one folder a stage.
    """
    shared = [_SHARED] if preset.data.remote and preset.remote_cache.enabled else []
    if not (root / ARTIFACTS).is_dir():
        return ["A run would compute every stage: there is no earlier output here", *shared]
    tracking, tracker = preset.tracking, None
    # Opening a store makes its database, and a dry run writes nothing; a store that was used is named there.
    if tracking.mlflow or (root / STORES).exists():
        tracker = open_tracker(tracking.mlflow, tracking.experiment, preset.product)
    # Prefect reads its settings when it is imported, so the store comes first.
    from flows.pipeline import run_stages
    from flows.pipeline_plan import EndOfPlan, PipelinePlan

    known = {path.name: path for path in folder.iterdir() if path.is_dir()}
    plan = PipelinePlan(preset, root, known, tracker)
    # The caller prints why a run ends early, as it does without a plan.
    with suppress(EndOfPlan):
        run_stages(preset, plan)
    return [*describe_plan(plan.stages), *shared]


def describe_plan(stages: Sequence[PlannedStage]) -> Iterator[str]:
    """Yield the lines about planned stages: a summary, a line for each, and the meaning of `open`."""
    width = max(len(stage.name) for stage in stages)
    counts = {status: sum(stage.status == status for stage in stages) for status in (COMPUTED, CACHED)}
    others = len(stages) - sum(counts.values())
    parts = [f"compute {counts[COMPUTED]:,}", f"reuse {counts[CACHED]:,}"]
    parts += [f"decide on {others:,} while it runs"] if others else []
    yield f"Of {counted(len(stages), 'stages')}, a run would {', '.join(parts)}:"
    for stage in stages:
        status = f"{stage.status:<8}"
        if colour := _COLOURS.get(stage.status):
            status = f"[{colour}]{status}[/{colour}]"
        yield f"  [bold]{stage.name:<{width}}[/bold]  {status}  {_describe_reason(stage)}"
    if others:
        yield (
            "[dim]open: its cache key includes an output that is not computed yet; if that output comes out "
            "the same, the stage is reused[/dim]"
        )


def _describe_reason(stage: PlannedStage) -> str:
    parts = [terminal_text(stage.reason)] if stage.reason else []
    # What differs of a stage that is reused made no difference.
    if stage.differences and stage.status != CACHED:
        parts.append(summarize_differences(stage.differences))
    if not parts:
        parts.append("its cache key is new; the last run's manifest is missing in MLflow")
    return "; ".join(parts)
