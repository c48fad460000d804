"""`chatmill explain`: explain why a stage was computed or taken from the cache."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.common.terminal import Console, terminal_text
from flows.orchestration.tracker import open_tracker
from tasks.common.counts import counted
from tasks.common.stage_status import CACHED

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.tracking.cache_explanation import InputDifference
    from tasks.tracking.queries import StageRun

_DIGEST, _SHOWN, _LONGEST = 40, 12, 100
_CHANGES = ("added", "gone", "changed")
_MOST = 40
_CACHED_ANYWAY = "it was cached anyway: an earlier run had computed it with the same inputs"
# Names of differences in the inputs that no stage makes: the digest of all sources, and one local file.
_SOURCES_DIGEST = "outside.digest"
_SOURCE_FILE = re.compile(r"outside\.sources\.\d+\.files\.(?P<path>.+)")
# Parameters that no key of a preset sets: a run with `labels: page` records them.
_PARAMETER_WORDS = {"product": "product of the judgements", "presets": "presets of that product"}


def explain(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="STAGE",
            help="A stage's name, as in pretrain. Default: the stages of the newest run that trained.",
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
        stages, newer = find_newest_stages(client)
        lines = [*_explain_run(client, stages), *([f"[dim]{newer}[/dim]"] if newer else [])]
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def _explain_run(client: MlflowClient, stages: list[StageRun]) -> list[str]:
    """Return a line for each stage of a run: computed or cached, and why."""
    from tasks.tracking.queries import stage_before

    width = max(len(found.stage) for found in stages)
    lines = [_name_run(stages[0])]
    for found in stages:
        before = stage_before(client, found)
        differ, reason = _find_reason(client, found, before)
        if found.status == CACHED and differ:
            reason = _CACHED_ANYWAY
        status = found.status or found.state.lower()
        lines.append(
            f"[bold]{found.stage:<{width}}[/bold]  {status:<8}  {reason or summarize_differences(differ)}"
        )
    return [*lines, "[dim]`chatmill explain STAGE` shows everything that differs in a stage[/dim]"]


def _explain_stage(client: MlflowClient, found: StageRun, before: StageRun | None) -> list[str]:
    """Return the explanation line by line, as rich markup."""
    what = found.status or f"not finished ({found.state.lower()})"
    lines = [f"[bold]{found.stage}[/bold] was [bold]{what}[/bold] in {_name_run(found)}"]
    if found.key and before is not None:
        lines.append(f"previous run: {_name_run(before)}, where it was {before.status}")
    differ, reason = _find_reason(client, found, before)
    if reason or before is None:
        return [*lines, reason]
    return [*lines, *_list_differences(differ, before, found)]


def _find_reason(
    client: MlflowClient, found: StageRun, before: StageRun | None
) -> tuple[list[InputDifference], str]:
    """Return what differs from the run before, or else the reason in words, as rich markup."""
    from tasks.tracking.cache_explanation import explain_differences
    from tasks.tracking.queries import read_past_manifest

    if not found.key:
        return [], "the stage did not finish and left no manifest, so there is nothing to compare"
    if before is None:
        return [], f"no earlier run of preset {escape(found.preset)} finished this stage"
    # Equal keys need no manifests, which `gc` may have removed.
    if before.key == found.key:
        return [], _explain_reuse(found)
    manifests = {each.pipeline: read_past_manifest(client, each) for each in (before, found)}
    keys = f"the keys differ ({before.key} → {found.key})"
    if gone := [each for each in (before, found) if manifests[each.pipeline] is None]:
        whose = " and ".join(f"of {_name_run(each)}" for each in gone)
        return [], f"{keys}, but the difference is unknown: the manifest {whose} is missing in MLflow"
    old, new = manifests[before.pipeline], manifests[found.pipeline]
    assert old is not None and new is not None
    if differ := explain_differences(old, new):
        return differ, ""
    return [], (
        f"{keys}, but not in what both manifests record: an older version of chatmill wrote one of them and "
        "did not record external inputs"
    )


def _explain_reuse(found: StageRun) -> str:
    if found.status == CACHED:
        return "nothing that it depends on differs"
    return (
        "nothing that it depends on differs: it was computed because its output was missing or damaged, "
        "or files that it wrote outside its folder had changed"
    )


def _list_differences(differ: list[InputDifference], before: StageRun, found: StageRun) -> list[str]:
    lines = [f"  {describe_difference(each)}" for each in differ[:_MOST]]
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
        lines.append(_CACHED_ANYWAY)
    return lines


def _name_run(found: StageRun) -> str:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.started / 1000))
    return f"run {found.pipeline[:_SHOWN]} ({escape(found.preset)}, {began})"


def describe_difference(found: InputDifference) -> str:
    """Return one difference of a cache key as rich markup: its kind, its name and both values."""
    values = " → ".join(_shorten_value(value, found.kind) for value in (found.before, found.now))
    if file := _SOURCE_FILE.fullmatch(found.name):
        return f"source file  [bold]{terminal_text(file['path'])}[/bold]  {_change_of(found)}  {values}"
    name = found.name.removeprefix(f"{found.kind}.") if found.kind == "outside" else found.name
    # The seed and the device are kinds of their own.
    kind = "" if name == found.kind else f"{found.kind}  "
    name = _PARAMETER_WORDS.get(name, name) if found.kind == "parameter" else name
    return f"{kind}[bold]{terminal_text(name)}[/bold]  {values}"


def summarize_differences(differ: Sequence[InputDifference]) -> str:
    """Return the differences of a cache key in one line of rich markup."""
    files = [each for each in differ if _SOURCE_FILE.fullmatch(each.name)]
    # The digest of all sources says nothing that their files do not say.
    others = [each for each in differ if each not in files and not (files and each.name == _SOURCES_DIGEST)]
    parts = []
    if files:
        changes = [_change_of(each) for each in files]
        counts = (f"{changes.count(how):,} {how}" for how in _CHANGES if how in changes)
        parts.append(f"source files: {', '.join(counts)}")
    if inputs := [each.name for each in others if each.kind == "input"]:
        parts.append(f"other output of {escape(', '.join(inputs))}")
    # Digests of code tell a reader nothing.
    if code := [each.name for each in others if each.kind == "code"]:
        more = f" and {counted(len(code) - 1, 'more definitions')}" if len(code) > 1 else ""
        parts.append(f"code of {terminal_text(code[0])}{more}")
    if rest := [each for each in others if each.kind not in ("input", "code")]:
        more = f", and {len(rest) - 1:,} more" if len(rest) > 1 else ""
        parts.append(f"{describe_difference(rest[0])}{more}")
    return "; ".join(parts)


def _change_of(found: InputDifference) -> str:
    added, gone, changed = _CHANGES
    return added if found.before is None else gone if found.now is None else changed


def _shorten_value(value: str | None, kind: str) -> str:
    if value is None:
        return "not set" if kind == "parameter" else "absent"
    if re.fullmatch(rf"[0-9a-f]{{{_DIGEST},}}", value):
        return value[:_SHOWN]
    return escape(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")
