"""`chatmill withdraw`: remove rows or a person's labels from the data, and name the affected models."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli.current_preset import DEMO, choose_preset
from flows.common.terminal import Console, one_line
from model.errors import UserError
from tasks.common.annotators import visible_name
from tasks.common.commit_advice import advise_commit
from tasks.common.counts import counted
from tasks.data.withdrawals import (
    WITHDRAWN,
    Withdrawal,
    merge_withdrawals,
    read_withdrawals,
    read_withdrawn,
    write_withdrawals,
)
from tasks.project.dry_run import forbid_writes
from tasks.project.paths import MLFLOW_FOLDER

if TYPE_CHECKING:
    from flows.config import Preset
    from tasks.deletion.plan import DeletionPlan

_SHOWN = 20


def withdraw(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="IDS", help="Rows' ids, or 6 characters of each.")
    ] = None,
    annotators: Annotated[
        list[str] | None,
        typer.Option("--annotator", "-a", help="A person whose labels are all withdrawn. Repeatable."),
    ] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids-file", help="A file of row ids, one per line.")
    ] = None,
    author: Annotated[str, typer.Option("--author", help="Who withdraws them.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-r", help="The reason, kept with the withdrawal.")] = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show which rows would be removed and which models used them; write nothing."
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The preset of this data. Default: the one that made data/."),
    ] = None,
) -> None:
    """Remove rows, or all labels of a person, from the data permanently.

    Writes configs/withdrawn.jsonl, creates a new data version, and lists the models that used them.
    Without rows or a person: list all withdrawals. Copies remain in the sources, in earlier versions of the
    data, in the models that learned from them, in judgements, backups and reports, until you remove these.
    """
    from flows.config import read_preset
    from flows.servers.environment import give_database_password
    from tasks.deletion.plan import DeletionRequest, plan_deletion, read_ids

    console, root = Console(highlight=False), Path.cwd()
    if not (ids or annotators or ids_file):
        _print_withdrawals(console, root)
        return
    if not dry_run and (
        lacks := [name for name, said in (("--reason", reason), ("--author", author)) if not said.strip()]
    ):
        raise UserError(f"{' and '.join(lacks)} missing; a withdrawal records its author and reason")
    config = choose_preset(config, root, console)
    preset = read_preset(config)
    # The dictionary keeps the order of the command line and drops repeated ids.
    named = {**dict.fromkeys(ids or [], ""), **(read_ids(ids_file) if ids_file else {})}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    # A dry run writes nothing, so it needs neither a name nor a reason.
    author, reason = (author, reason) if not dry_run else ("nobody", "only shown")
    asked = DeletionRequest(annotators or [], named, author, reason, now)
    give_database_password()
    with forbid_writes() if dry_run else nullcontext():
        found = plan_deletion(root, asked, preset.validation.overrides_file)
        if dry_run:
            _show_plan(console, found, "would be removed")
        else:
            _take_out(console, preset, root, found)
        # Also of a repeated withdrawal: the first one may have been killed before it said this.
        _show_models(console, preset, root, found)
        if not dry_run:
            _name_live_runs(console, root)
    _show_similar(console, found)
    _name_active_people(console, root, asked.people)
    if dry_run:
        console.print("Nothing was written.")
        return
    advice = advise_commit(root, WITHDRAWN, "data.dvc") or f"keep {WITHDRAWN}: later runs read it"
    console.print(f"{advice}. `chatmill withdraw --help` lists the remaining copies", soft_wrap=True)
    command = "chatmill run" if config == DEMO else f"chatmill run --config {config}"
    console.print(f"next: `{escape(command)}` recomputes what depends on them", soft_wrap=True)


def _take_out(console: Console, preset: Preset, root: Path, found: DeletionPlan) -> None:
    """Record the withdrawal and make a data version without it, unless both were done before."""
    from flows.cli.launch import launch_flow, load_ingestion
    from flows.servers.environment import prepare_environment
    from tasks.dvc.versions import check_data

    # A server that is unreachable must fail the command before anything is written.
    prepare_environment(root, preset.tracking.mlflow)
    if not found.new and _is_out(root):
        for each in found.known:
            console.print(_describe_withdrawal(each), soft_wrap=True)
        console.print("nothing to do: already withdrawn, and the data does not contain it", soft_wrap=True)
        return
    # The same for a damaged data.dvc and for files in data/ that are not chatmill's.
    check_data(root)
    # Before the ingestion: if that is interrupted, the next run makes the data without these rows.
    written = write_withdrawals(root, found.new)
    if len(written) < len(found.new):
        # Another process has withdrawn the rest since the plan was made.
        rest = {(each.id, each.annotator) for each in found.new if each not in written}
        found.known += [each for each in read_withdrawals(root) if (each.id, each.annotator) in rest]
        found.new = written
    # New labels are announced by the deployment that looks for them, not by this command.
    launch_flow(load_ingestion, lambda: preset, announce=False)
    _show_plan(console, found, "removed")


def _is_out(root: Path) -> bool:
    """Return whether the version in data.dvc was made without all that is withdrawn."""
    from tasks.dvc.pointer_file import read_pointer

    meta = (read_pointer(root) or {}).get("meta") or {}
    return (meta.get("withdrawn") or {}).get("digest", "") == read_withdrawn(root).withdrawals_digest


def _show_plan(console: Console, found: DeletionPlan, how: str) -> None:
    """Print what is withdrawn, and how many rows of each file it removes or changes."""
    from rich.table import Table

    for each in found.known[:_SHOWN]:
        console.print(_describe_withdrawal(each), soft_wrap=True)
    for each in found.new[:_SHOWN]:
        console.print(escape(_name_subject(each)), soft_wrap=True)
    if (more := sum(max(0, len(all_of) - _SHOWN) for all_of in (found.new, found.known))) > 0:
        console.print(f"and {more:,} more")
    table = Table(box=None, pad_edge=False)
    for column in ("file", "rows"):
        table.add_column(column, overflow="fold")
    for column in (how, "lose labels"):
        table.add_column(column, justify="right")
    for kind, file in sorted({*found.gone, *found.reduced}):
        counts = (found.gone[kind, file], found.reduced[kind, file])
        table.add_row(escape(file), kind, *(f"{count:,}" if count else "" for count in counts))
    console.print(table if table.row_count else "no row in data/ is affected")


def _show_models(console: Console, preset: Preset, root: Path, found: DeletionPlan) -> None:
    """Print the models that used the withdrawn rows, and what each did with them."""
    from flows.cli.lineage import show_learned
    from flows.orchestration.tracker import open_tracker

    tracker = open_tracker(preset.tracking.mlflow, preset.tracking.experiment)
    # MLflow reads its settings when it is imported, so the environment must be set first.
    from tasks.deletion.affected_models import SearchTarget, learned_from

    sought = SearchTarget(withdrawn=merge_withdrawals((*found.new, *found.known)))
    models, gone = learned_from(tracker.client, tracker.registries(), root, sought)
    if models or gone:
        console.print("models that used them (unchanged):", soft_wrap=True)
        show_learned(console, models, gone)
    else:
        console.print("no model used them")


def _name_live_runs(console: Console, root: Path) -> None:
    """Print the runs that are alive: they may have read the data before the withdrawal."""
    from flows.cli.gc import find_live_runs

    if runs := [run[:12] for run in find_live_runs(root / MLFLOW_FOLDER)]:
        console.print(
            f"alive now: {', '.join(f'run {run}' for run in runs)}. A run that has used withdrawn rows "
            "registers no model; stop it and start it again",
            soft_wrap=True,
        )


def _name_active_people(console: Console, root: Path, people: Sequence[str]) -> None:
    """Name the withdrawn people who may still sign in to the label page, and judge in vain."""
    from tasks.labelling.people import find_person
    from tasks.labelling.schema import read_label_store

    store = read_label_store(root) if people else None
    if store is None:
        return
    with store:
        found = [find_person(store, visible_name(name)) for name in people]
    for person in filter(None, found):
        if person.active:
            console.print(
                f"{one_line(person.name)} can still sign in to the label page, though no run reads what they "
                f"judge: `chatmill people remove {one_line(shlex.quote(person.name))}` ends that",
                soft_wrap=True,
            )


def _show_similar(console: Console, found: DeletionPlan) -> None:
    """Name the people who stay and may be the withdrawn person under another spelling."""
    people: dict[str, list[str]] = {}
    for (name, kind), count in sorted(found.similar.items()):
        people.setdefault(name, []).append(counted(count, kind))
    if people:
        names = ", ".join(f"{name} ({', '.join(counts)})" for name, counts in people.items())
        options = " ".join(f"--annotator {shlex.quote(name)}" for name in people)
        console.print(
            escape(f"similar names stay: {names}; if this is the same person, add {options}"), soft_wrap=True
        )


def _print_withdrawals(console: Console, root: Path) -> None:
    """Print what the project has withdrawn, the latest last."""
    found = read_withdrawals(root)
    for each in found[-_SHOWN:]:
        console.print(_describe_withdrawal(each), soft_wrap=True)
    if len(found) > _SHOWN:
        console.print(f"the last {_SHOWN} of {len(found):,} in {WITHDRAWN}")
    if not found:
        console.print("nothing is withdrawn")
    elif left := _count_left(root, found):
        console.print(
            f"data/ still holds {counted(left, 'withdrawn rows')}, as a withdrawal was interrupted "
            "or came from elsewhere; `chatmill ingest` removes them",
            soft_wrap=True,
        )
    console.print(
        "next: `chatmill withdraw --annotator WHO --author YOU --reason TEXT` withdraws a person's "
        "labels; `chatmill withdraw ID… --author YOU --reason TEXT` withdraws rows",
        soft_wrap=True,
    )


def _count_left(root: Path, found: Sequence[Withdrawal]) -> int:
    """Return how many rows of data/ are withdrawn, or have judgements of withdrawn people."""
    from tasks.deletion.plan import DeletionRequest, plan_deletion

    if not (root / "data").is_dir() or _is_out(root):
        return 0
    people = [each.annotator for each in found if not each.id]
    ids = {each.id: "" for each in found if each.id}
    plan = plan_deletion(root, DeletionRequest(people, ids, "nobody", "only shown", ""))
    return plan.gone.total() + plan.reduced.total()


def _describe_withdrawal(each: Withdrawal) -> str:
    return escape(f"{_name_subject(each)}: withdrawn by {each.author}, {each.time[:10]} ({each.reason})")


def _name_subject(each: Withdrawal) -> str:
    return f"row {each.id}" if each.id else f"the labels of {each.annotator}"
