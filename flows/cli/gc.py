"""`chatmill gc`: remove outputs and caches that no model, running run or newest run needs."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.common.terminal import Console
from flows.orchestration.tracker import open_tracker
from flows.servers.state_file import read_served
from model.errors import UserError
from tasks.cleanup.output_gc import (
    RUNNING,
    CachedOutput,
    GCPlan,
    Root,
    is_lock_held,
    list_outputs,
    parse_age,
    parse_size,
    plan_gc,
    show_age,
    show_size,
)
from tasks.cleanup.record_gc import Remains, find_remains, kept_elsewhere, remove_remains
from tasks.cleanup.removal import REFUSED, Removal, rename_outputs
from tasks.common.counts import counted
from tasks.common.disk_space import little_space
from tasks.data.withdrawals import read_withdrawn
from tasks.deletion.output_erasure import outputs_with_withdrawn
from tasks.project.dry_run import forbid_writes
from tasks.project.paths import ARTIFACTS, MLFLOW_FOLDER, RECORDS, SUMMARY

if TYPE_CHECKING:
    from tasks.cleanup.artifact_gc import Copies
    from tasks.tracking.tracker import Tracker

_NEWEST = "the newest run"
SHOWN_RUNS = 5


def collect_garbage(
    older_than: Annotated[
        str, typer.Option("--older-than", help="Remove outputs unused for longer than this: 30d, 12h.")
    ] = "14d",
    max_size: Annotated[
        str,
        typer.Option("--max-size", help="Then remove the oldest unused outputs until the rest fits: 20GB."),
    ] = "",
    withdrawn: Annotated[
        bool,
        typer.Option("--withdrawn", help="Also remove outputs that contain withdrawn rows."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The preset whose tracking settings name the model registry."),
    ] = None,
) -> None:
    """Remove stage outputs and checkpoints that nothing needs, by age and by size.

    Outputs that a registered model, a running run or the newest run needs are kept at any age.
    """
    age = parse_age(older_than)
    size = parse_size(max_size) if max_size else None
    with forbid_writes() if dry_run else nullcontext():
        _collect_garbage(age, size, withdrawn, dry_run, config)


def _collect_garbage(
    age: float, size: int | None, withdrawn: bool, dry_run: bool, config: Path | None
) -> None:
    root, console = Path.cwd(), Console(highlight=False)
    if not list_outputs(root / ARTIFACTS) and not (root / RECORDS).is_dir():
        console.print(f"Nothing to remove: {ARTIFACTS} is empty.")
        return
    tracker = _open_tracker_of(config)
    removal, put, stay = Removal(), list[tuple[CachedOutput, Path]](), dict[CachedOutput, str]()
    # A dry run takes no lock: it must not make a run wait.
    # No run can start while this lock is held, so nothing becomes needed after the plan is made.
    try:
        with nullcontext() if dry_run else _is_locked(tracker.folder / "lock"):
            entries = list_outputs(root / ARTIFACTS)
            alive = find_live_runs(tracker.folder)
            _same_store(tracker, root, entries)
            unwanted = outputs_with_withdrawn(entries, read_withdrawn(root)) if withdrawn else {}
            planned = plan_gc(entries, find_gc_roots(tracker, root, alive), time.time(), age, size, unwanted)
            if not dry_run:
                put, stay = rename_outputs(planned, bool(alive), removal)
            if little_space(root):
                # What follows writes to the databases, for which the outputs make room.
                _delete_renamed(put, stay, removal)
            caches = _clean_caches(tracker, root, age, alive, dry_run, removal)
            # Prefect's database may be changed only while no server has it open.
            idle = not alive and read_served(root) is None
            remains = find_remains(root, age, time.time(), idle, busy=bool(alive))
            if not dry_run:
                remains = remove_remains(root, remains, removal)
            freed = sum(each.size for each in remains)
            copies = _clean_copies(tracker, root, age, alive, dry_run, removal)
    finally:
        # After the lock is released: large folders take long, and runs may start meanwhile.
        _delete_renamed(put, stay, removal)
    print_plan(console, planned, dry_run, stay)
    for rows in (copies.removed, caches.removed):
        remains += [Remains(f"{row.name}, {show_size(row.size)}", row.count, row.size) for row in rows]
        freed += sum(row.size for row in rows)
    show_remains(console, remains, freed, dry_run)
    records = kept_elsewhere(root, sum(row.size for row in copies.kept))
    show_kept(console, [*records, *(row.shown for row in (*copies.kept, *caches.kept))])
    if size is not None and planned.kept_bytes > size:
        console.print(
            f"[yellow]needed outputs take {show_size(planned.kept_bytes)}, more than --max-size "
            f"{show_size(size)}"
            "[/yellow]"
        )
    # Last, because the rest of the output says what was removed.
    removal.raise_refused(root)


def _delete_renamed(
    put: list[tuple[CachedOutput, Path]], stay: dict[CachedOutput, str], removal: Removal
) -> None:
    """Delete renamed outputs and empty the list; what the system refuses goes to `stay`."""
    while put:
        entry, path = put.pop(0)
        if not removal.delete_path(path):
            stay[entry] = REFUSED


def show_remains(console: Console, remains: list[Remains], freed: int, dry_run: bool) -> None:
    """Print what is removed besides the outputs of stages."""
    word = "would be removed" if dry_run else "removed"
    for each in remains:
        console.print(f"{word}: {each.count:,} {escape(each.what)}", soft_wrap=True)
    if remains:
        console.print(
            f"[bold]{'would free' if dry_run else 'freed'} outside the stage outputs: "
            f"{show_size(freed)}[/bold]"
        )


def show_kept(console: Console, rows: list[tuple[str, int, str]]) -> None:
    """Print what is kept besides the outputs of stages: name, size in bytes and reason."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("also kept", "size", "reason"):
        table.add_column(column, justify="right" if column == "size" else "left")
    for path, size, reason in rows:
        table.add_row(escape(path), show_size(size), escape(reason))
    if table.row_count:
        console.print(table)


@dataclass(frozen=True)
class TableRow:
    """A group of files of one kind that are removed or kept together."""

    name: str
    count: int
    size: int
    reason: str = ""

    @property
    def shown(self) -> tuple[str, int, str]:
        """Return the name, the size in bytes and the reason."""
        return self.name, self.size, self.reason


@dataclass(frozen=True)
class CleanedCopies:
    """The rows that were removed, or would be in a dry run, and the rows that are kept."""

    removed: list[TableRow]
    kept: list[TableRow]


def _clean_copies(
    tracker: Tracker, root: Path, age: float, alive: list[str], dry_run: bool, removal: Removal
) -> CleanedCopies:
    """Remove the copies in MLflow that no version and no kept run needs.

    Removed copies are grouped by stage, kept ones by reason.
    """
    from tasks.cleanup.artifact_gc import plan_copies, remove_copies

    newest = _newest_runs(tracker, root)
    found = plan_copies(tracker.client, root / MLFLOW_FOLDER / "artifacts", age, time.time(), alive, newest)
    removed: dict[str, list[Copies]] = {}
    kept: dict[str, list[Copies]] = {}
    for copies in found.removed:
        if dry_run or remove_copies(tracker.client, copies, removal):
            removed.setdefault(copies.stage, []).append(copies)
        else:
            kept.setdefault(REFUSED, []).append(copies)
    for copies, reason in found.kept:
        kept.setdefault(reason, []).append(copies)
    return CleanedCopies(
        [
            TableRow(
                f"{'run' if len(group) == 1 else 'runs'} of {stage}: MLflow's copies of files "
                f"({_run_ids(group)})",
                len(group),
                _total_size(group),
            )
            for stage, group in sorted(removed.items())
        ],
        [
            TableRow(
                f"{MLFLOW_FOLDER}: copies of {counted(len(group), 'stage runs')}",
                len(group),
                _total_size(group),
                reason,
            )
            for reason, group in sorted(kept.items())
        ],
    )


def _clean_caches(
    tracker: Tracker, root: Path, age: float, alive: list[str], dry_run: bool, removal: Removal
) -> CleanedCopies:
    """Remove old downloads, environments, snapshots and worktrees that no run or preset needs."""
    from tasks.cleanup.cache_gc import plan_cache, remove_cached

    removed, kept = plan_cache(root, age, time.time(), _needed_presets(tracker, root), bool(alive))
    rows = [
        TableRow(str(each.path.relative_to(root)), 1, each.size, f"{each.kind}: {reason}")
        for each, reason in kept
    ]
    gone = []
    for each in removed:
        name = str(each.path.relative_to(root))
        reason = "" if dry_run else remove_cached(root, each, removal)
        if reason:
            rows.append(TableRow(name, 1, each.size, f"{each.kind}: {reason}"))
        else:
            gone.append(TableRow(f"{each.kind} {name}", 1, each.size))
    return CleanedCopies(gone, rows)


def _run_ids(group: list[Copies]) -> str:
    named = ", ".join(each.run[:8] for each in group[:SHOWN_RUNS])
    return named if len(group) <= SHOWN_RUNS else f"{named} and {len(group) - SHOWN_RUNS:,} more"


def _total_size(group: list[Copies]) -> int:
    return sum(each.size for each in group)


def _newest_runs(tracker: Tracker, root: Path) -> list[str]:
    """Return the ids of the last run that left a summary and of the last run of the experiment."""
    last = tracker.client.search_runs(
        [tracker.experiment], max_results=1, order_by=["attributes.start_time DESC"]
    )
    names = [str(_read_summary(root).get("mlflow_run_id", "")), *(run.info.run_id for run in last)]
    return [name for name in names if name]


def _needed_presets(tracker: Tracker, root: Path) -> list[dict[str, Any]]:
    """Return the presets of the newest run and of the runs that registered versions come from."""
    from tasks.tracking.queries import PARENT, read_artifact, run_or_none, runs_by_id

    client = tracker.client
    versions = sorted({str(each.run_id) for each in client.search_model_versions() if each.run_id})
    makers = [*runs_by_id(client, versions).values()]
    makers += [run for name in _newest_runs(tracker, root) if (run := run_or_none(client, name))]
    parents = {run.data.tags.get(PARENT, run.info.run_id) for run in makers}
    found = (read_artifact(client, parent, "preset.json") for parent in sorted(parents))
    return [preset for preset in found if isinstance(preset, dict)]


def _open_tracker_of(config: Path | None) -> Tracker:
    from flows.config import Preset, read_preset

    default = Preset.model_fields["tracking"].get_default(call_default_factory=True)
    tracking = read_preset(config).tracking if config else default
    return open_tracker(tracking.mlflow, tracking.experiment)


@contextmanager
def _is_locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _same_store(tracker: Tracker, root: Path, entries: list[CachedOutput]) -> None:
    """Raise UserError if this MLflow store does not have the newest run: it then lacks its models too."""
    from mlflow.exceptions import MlflowException

    # Without a summary, as after a crash, the newest output names a run.
    made = sorted((entry.made, entry.run) for entry in entries if entry.run)
    run = str(_read_summary(root).get("mlflow_run_id", "")) or (made[-1][1] if made else "")
    try:
        if run:
            tracker.client.get_run(run)
    except MlflowException as error:
        raise UserError(
            f"MLflow's store does not contain the newest run, {run}, so gc cannot tell which models "
            "to keep; name that run's preset: chatmill gc --config PRESET"
        ) from error


def _read_summary(root: Path) -> dict[str, Any]:
    try:
        found = json.loads((root / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def find_live_runs(folder: Path) -> list[str]:
    """Return the ids of the MLflow runs whose process is alive."""
    return [path.name for path in sorted((folder / "alive").glob("*")) if is_lock_held(path)]


def find_gc_roots(tracker: Tracker, root: Path, alive: list[str]) -> list[Root]:
    """Return what running runs, registered versions, their verdicts and the newest run need."""
    found = [need for run in alive for need in _of_run(tracker, run, RUNNING)]
    # A failing store must raise here. If it looked empty, the outputs of registered models would be
    # removed.
    for version in tracker.client.search_model_versions():
        reason = f"version {version.version} of {version.name}"
        found.append(Root(reason, digest=version.tags.get("digest", ""), run=version.run_id or ""))
        if verdict := version.tags.get("gate"):
            found.append(Root(f"the verdict on {reason}", digest=verdict))
    found += [Root(_NEWEST, step["name"], step["key"]) for step in _read_summary(root).get("stages", [])]
    last = tracker.client.search_runs(
        [tracker.experiment], max_results=1, order_by=["attributes.start_time DESC"]
    )
    for run in last:
        parent = run.data.tags.get("mlflow.parentRunId", run.info.run_id)
        if parent not in alive:
            found += _of_run(tracker, parent, _NEWEST)
    return found


def _of_run(tracker: Tracker, run: str, reason: str) -> Iterator[Root]:
    """Yield what the stages of a run used or made. The key of a stage that has not ended is not known yet.

    Of a live run the whole stage is kept; of a killed run only the outputs that it began.
    """
    experiment = tracker.client.get_run(run).info.experiment_id
    for child in tracker.client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run}'"):
        stage, key = (child.data.tags.get(f"chatmill.{name}", "") for name in ("stage", "key"))
        if stage:
            yield Root(reason, stage, key, begun=not key and reason != RUNNING)


def print_plan(console: Console, planned: GCPlan, dry_run: bool, stay: Mapping[CachedOutput, str]) -> None:
    """Print what is removed, one a line, what is kept by stage and reason, and the total of both.

    `stay` holds planned outputs that are still there, each with the reason.
    """
    from rich.table import Table

    now = time.time()
    goes = [(entry, reason) for entry, reason in planned.goes if entry not in stay]
    freed = sum(entry.size for entry, _ in goes)
    said = "would free" if dry_run else "freed"
    if goes:
        table = Table(box=None, pad_edge=False)
        for column in ("stage", "key", "age", "size", "reason"):
            table.add_column(column, justify="right" if column in ("age", "size") else "left")
        for entry, reason in goes:
            name = entry.key if entry.kind == "output" else f"{entry.key} ({entry.kind})"
            table.add_row(
                escape(entry.stage), name, show_age(now - entry.made), show_size(entry.size), escape(reason)
            )
        console.print(table)
    outputs = "output" if len(goes) == 1 else "outputs"
    total = f"[bold]{said}: {show_size(freed)} in {len(goes)} {outputs}[/bold]"
    console.print(total if goes else "no output of a stage needs to be removed")
    for entry, reason in stay.items():
        console.print(f"{entry.stage} {entry.key} kept: {reason}", soft_wrap=True)
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for entry, reason in planned.kept:
        counts[entry.stage, reason] += 1
        sizes[entry.stage, reason] += entry.size
    if counts:
        table = Table(box=None, pad_edge=False)
        for column in ("stage", "kept", "size", "reason"):
            table.add_column(column, justify="right" if column in ("kept", "size") else "left")
        for (stage, reason), count in sorted(counts.items()):
            table.add_row(escape(stage), str(count), show_size(sizes[stage, reason]), escape(reason))
        console.print(table)
        console.print(f"[bold]kept: {show_size(planned.kept_bytes)} in {len(planned.kept)}[/bold]")
