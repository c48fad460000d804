"""`chatmill explain`: explain why a stage was computed or taken from the cache."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.common.terminal import Console
from flows.orchestration.tracker import open_tracker
from tasks.common.stage_status import CACHED

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.tracking.cache_explanation import InputDifference
    from tasks.tracking.queries import StageRun

_DIGEST, _SHOWN, _LONGEST = 40, 12, 100
_MOST = 40
_PREVIOUS = "previous run: "


def explain(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="STAGE",
            help="A stage's name, as in pretrain. Default: all stages of the newest run, a line for each.",
        ),
    ] = "",
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A pipeline run's MLflow id or its first characters. Default: the newest run.",
        ),
    ] = "",
) -> None:
    """Show whether a stage was computed or cached, and what differed from the previous run.

    Compared: code, parameters, inputs, lock file, seed, device and external inputs.
    """
    client = open_tracker().client
    # MLflow reads its settings when it is imported, so the environment must be set first.
    from tasks.tracking.queries import find_newest_stages, find_stage, stage_before

    if stage:
        found = find_stage(client, stage, run)
        lines = _explain_stage(client, found, stage_before(client, found))
    else:
        lines = _explain_run(client, find_newest_stages(client))
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def _explain_run(client: MlflowClient, stages: list[StageRun]) -> list[str]:
    """Return a line for each stage of a run: computed or cached, and the first reason."""
    from tasks.tracking.queries import stage_before

    width = max(len(found.stage) for found in stages)
    lines = [_name_run(stages[0])]
    for found in stages:
        said = _explain_stage(client, found, stage_before(client, found))[1:]
        why = [line.strip() for line in said if not line.startswith(_PREVIOUS)]
        differences = sum(line.startswith("  ") and "  [bold]" in line for line in said)
        # The last sentence of a cached stage says why the differences did not matter.
        reason = why[-1] if found.status == CACHED else why[0]
        more = f", and {differences - 1} more" if found.status != CACHED and differences > 1 else ""
        status = found.status or found.state.lower()
        lines.append(f"[bold]{found.stage:<{width}}[/bold]  {status:<8}  {reason}{more}")
    return [*lines, "[dim]`chatmill explain STAGE` shows everything that differs in a stage[/dim]"]


def _explain_stage(client: MlflowClient, found: StageRun, before: StageRun | None) -> list[str]:
    """Return the explanation line by line, as rich markup."""
    from tasks.tracking.cache_explanation import explain_differences
    from tasks.tracking.queries import read_past_manifest

    what = found.status or f"not finished ({found.state.lower()})"
    lines = [f"[bold]{found.stage}[/bold] was [bold]{what}[/bold] in {_name_run(found)}"]
    if not found.key:
        return [*lines, "the stage did not finish and left no manifest, so there is nothing to compare"]
    if before is None:
        return [
            *lines,
            f"no earlier run of preset {escape(found.preset)} finished this stage",
        ]
    lines.append(f"{_PREVIOUS}{_name_run(before)}, where it was {before.status}")
    # Equal keys need no manifests, which `gc` may have removed.
    if before.key == found.key:
        return [*lines, _explain_reuse(found)]
    manifests = {each.pipeline: read_past_manifest(client, each) for each in (before, found)}
    gone = [each for each in (before, found) if manifests[each.pipeline] is None]
    if gone:
        whose = " and ".join(f"of {_name_run(each)}" for each in gone)
        return [
            *lines,
            f"the keys differ ({before.key} → {found.key}), but the difference is unknown: "
            f"the manifest {whose} is missing in MLflow",
        ]
    old, new = manifests[before.pipeline], manifests[found.pipeline]
    assert old is not None and new is not None
    return [*lines, *_list_differences(explain_differences(old, new), before, found)]


def _explain_reuse(found: StageRun) -> str:
    if found.status == CACHED:
        return "nothing that it depends on differs"
    return (
        "nothing that it depends on differs: it was computed because its output was missing or damaged, "
        "or files that it wrote outside its folder had changed"
    )


def _list_differences(differ: list[InputDifference], before: StageRun, found: StageRun) -> list[str]:
    if not differ:
        return [
            f"the keys differ ({before.key} → {found.key}), but not in what both manifests record: an "
            "older version of chatmill wrote one of them and did not record external inputs"
        ]
    lines = [
        f"  {each.kind}  [bold]{escape(each.name)}[/bold]  {_shorten_value(each.before)} → "
        f"{_shorten_value(each.now)}"
        for each in differ[:_MOST]
    ]
    if len(differ) > _MOST:
        lines.append(f"  and {len(differ) - _MOST} more")
    kinds = {each.kind for each in differ}
    if "code" in kinds and before.commit and found.commit:
        lines.append(f"  commits: {before.commit[:_SHOWN]} → {found.commit[:_SHOWN]}")
    if "input" in kinds:
        # The champion is an input of `drift` that no stage makes.
        asks = {"champion": "chatmill models --history"}
        names = ", ".join(
            asks.get(each.name, f"chatmill explain {each.name}") for each in differ if each.kind == "input"
        )
        lines.append(f"  to explain an input: {escape(names)}")
    if found.status == CACHED:
        lines.append("it was cached anyway: an earlier run had computed it with the same inputs")
    return lines


def _name_run(found: StageRun) -> str:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.started / 1000))
    return f"run {found.pipeline[:_SHOWN]} ({escape(found.preset)}, {began})"


def _shorten_value(value: str) -> str:
    if re.fullmatch(rf"[0-9a-f]{{{_DIGEST},}}", value):
        return value[:_SHOWN]
    return escape(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
