"""`chatmill models` and `chatmill rollback`: list the versions and champions, and choose another champion."""

from __future__ import annotations

import os
import pwd
import time
from calendar import timegm
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape, render
from rich.table import Table

from flows.common.narrow_tables import print_table
from flows.common.shared_products import describe_shared_product
from flows.common.terminal import Console, escape_controls, wrap_words
from flows.orchestration.tracker import open_tracker
from model.errors import UserError
from tasks.common.counts import counted

if TYPE_CHECKING:
    from tasks.tracking.alias_changes import AliasChange
    from tasks.tracking.registry import Registry
    from tasks.tracking.tracker import Tracker
    from tasks.tracking.version_files import FileState, VersionFiles

# A longer reason stands below the table: a narrow column of many lines cannot be read.
_REASON_LINES = 2
_LEAST_WIDTH = 24
# As many columns of metrics fit beside their names.
_MOST_VERSIONS = 4
NONE_YET = "No model is registered yet; `chatmill run` registers one."
# Approval states that need attention have a colour.
STATES = {"pending": "[yellow]pending[/yellow]", "rejected": "rejected", "expired": "expired"}


def models(
    product: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A product, or one version of it, as NAME/3. Default: all products."
        ),
    ] = "",
    history: Annotated[
        bool, typer.Option("--history", help="Show all past champions, with date, person and reason.")
    ] = False,
    named: Annotated[
        str, typer.Option("--product", "-p", help="The product; the same as the argument.")
    ] = "",
) -> None:
    """Show the registered versions: their metrics, who is champion, since when and why, and why one is not.

    A product is the preset's `registry.model`, or its name. Each has its own versions and its own champion.
    """
    # NAME and --product mean the same; the option exists as other commands have it.
    tracker, console = open_tracker(), Console(highlight=False)
    from tasks.tracking.version_files import VersionFiles

    files = VersionFiles(tracker.client, Path.cwd())
    wanted, only = _split_version(tracker, product, named)
    registries = tracker.registries(wanted)
    if not registries:
        missing = "No model has been champion yet." if history else NONE_YET
        console.print(missing, soft_wrap=True)
        return
    for index, registry in enumerate(registries):
        if index:
            console.print()
        if history:
            moves = [move for move in registry.moves() if only in ("", move.before, move.now)]
            what = f"Version {only}" if only else "No model"
            none = f"{what} of {registry.product.name} has {'never ' if only else ''}been champion"
            none += "." if only else " yet."
            if moves:
                print_table(console, _moves_table(registry, moves), "reason")
            else:
                console.print(escape(none))
        else:
            _show_versions(tracker, registry, console, files, only)
            if said := describe_shared_product(Path.cwd(), registry.product.name):
                console.print(f"[yellow]{escape(said)}[/yellow]", soft_wrap=True)


def _split_version(tracker: Tracker, address: str, product: str) -> tuple[str, str]:
    """Return the product that a command line names, and the version's number; empty: all of them.

    Args:
        tracker: The tracker of the store.
        address: What was typed: a product, or a version as 3, NAME/3 or NAME/champion.
        product: The value of --product.

    Raises:
        UserError: There is no such version.
    """
    from tasks.tracking.products import find_version, is_version, list_products, split_address

    # The name of a product may contain a slash and end in a number.
    names = {name for each in list_products(tracker.client) for name in (each.name, each.model)}
    if address in names or not is_version(address):
        return address or product, ""
    whose, number = split_address(address)
    whose = whose or product
    version = find_version(tracker.client, f"{whose}/{number}" if whose else number)
    return str(version.name), str(version.version)


def _show_versions(
    tracker: Tracker, registry: Registry, console: Console, files: VersionFiles, only: str = ""
) -> None:
    """Print the versions of a product, or the only one that is asked for."""
    from tasks.common.metric_labels import reason_words
    from tasks.tracking.approval import approval_state
    from tasks.tracking.approval import describe_approval as told_person
    from tasks.tracking.lineage import presets_of

    moves = registry.moves()
    versions = [each for each in registry.versions() if only in ("", str(each.version))]
    champion = moves[-1].now if moves else ""
    presets = presets_of(tracker.client, versions)
    rows: list[tuple[str, ...]] = []
    reasons: dict[str, str] = {}
    # The champion first: a quick look reads a limited number of bytes.
    order = sorted(versions, key=lambda version: str(version.version) != champion)
    states = {str(version.version): files.look_at(version) for version in order}
    for version in versions:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.creation_timestamp / 1000))
        name, stands = str(version.version), approval_state(version.tags)
        holds = "[green]champion[/green]" if name == champion else STATES.get(stands, "")
        if not holds and version.tags.get("passed") == "false":
            holds = "refused"
        if states[name].damage:
            holds = f"{holds}, [red]damaged[/red]" if holds else "[red]damaged[/red]"
        if stands and name != champion:
            reason = told_person(version)
        else:
            # The gate's reason is that of the day when the version was registered.
            reason = _describe_last_move(name, moves) or reason_words(version.tags.get("reason", ""))
        reasons[name] = reason
        whose = (escape(registry.product.name), name, escape(presets.get(name, "not known")))
        rows.append((*whose, made, holds, escape(reason)))
    columns = ("product", "version", "preset", "made", "status", "reason")
    below = _are_reasons_long(rows, columns, console.width)
    table = _models_table(*(columns[:-1] if below else columns))
    for row in rows:
        table.add_row(*(row[:-1] if below else row))
    print_table(console, table, "reason")
    for name, reason in reasons.items() if below else ():
        if reason:
            _print_wrapped(console, f"version {name}: {reason}")
    _print_metrics(console, versions, champion)
    for version in versions:
        print_files(console, states[str(version.version)])
    none = f"No version of {escape(registry.product.name)} is champion."
    console.print(_describe_champion(registry, moves[-1]) if champion else none, soft_wrap=True)


def _are_reasons_long(rows: Sequence[Sequence[str]], columns: Sequence[str], width: int) -> bool:
    """Return whether a reason takes over _REASON_LINES lines beside the other columns."""
    texts = [columns, *([render(cell).plain for cell in row] for row in rows)]
    before = sum(max(len(row[place]) for row in texts) + 2 for place in range(len(columns) - 1))
    return any(len(row[-1]) > _REASON_LINES * max(0, width - before) for row in texts)


def _print_metrics(console: Console, versions: Sequence[Any], champion: str) -> None:
    """Print the metrics of the newest versions and of the champion, one column a version."""
    from tasks.common.metric_labels import metric_words
    from tasks.tracking.approval import approval_figures

    measured = {str(one.version): found for one in versions if (found := approval_figures(one.tags))}
    shown = [*measured][:_MOST_VERSIONS]
    if champion in measured and champion not in shown:
        shown[-1] = champion
    if not shown:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("metric")
    for name in shown:
        table.add_column(f"version {name}", justify="right", no_wrap=True)
    for metric in dict.fromkeys(name for version in shown for name in measured[version]):
        values = (measured[version].get(metric) for version in shown)
        cells = ("–" if value is None else f"{value:.3g}" for value in values)
        table.add_row(escape(metric_words(metric)), *cells)
    console.print()
    print_table(console, table, "metric")
    if left := len(measured) - len(shown):
        console.print(f"{counted(left, 'older versions')}: their metrics are in MLflow", soft_wrap=True)
    console.print()


def _print_wrapped(console: Console, text: str) -> None:
    """Print a text in lines of whole words, those after the first indented."""
    lines = wrap_words(escape_controls(text), max(_LEAST_WIDTH, console.width - 2))
    console.print(escape("\n  ".join(lines)), soft_wrap=True)


def print_files(console: Console, state: FileState) -> None:
    """Print what a quick look at a version's files found, if it found anything."""
    if state.sentence:
        colour = "red" if state.damage else "yellow"
        console.print(f"[{colour}]{escape(state.sentence)}[/{colour}]", soft_wrap=True)


def rollback(
    reason: Annotated[str, typer.Option("--reason", "-r", help="The reason, kept in the history.")],
    version: Annotated[
        str,
        typer.Argument(
            metavar="VERSION",
            help="A version, as 3 or NAME/3. Default: the previous champion (NAME/ for one product).",
        ),
    ] = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Allow a version that never passed the gate, or that has used withdrawn rows."
        ),
    ] = False,
    product: Annotated[str, typer.Option("--product", "-p", help="The product, if there are several.")] = "",
) -> None:
    """Make an earlier version champion again, or any version that passed the gate.

    A version that has used rows withdrawn since is refused. The gate does not promote the model again that
    was rolled back from. A model that beats the champion's score still becomes champion, and the run says
    that it overrides a rollback.
    """
    tracker = open_tracker()
    from tasks.deletion.learned_rows import rollback_check
    from tasks.tracking.products import find_product, list_products, split_address

    whose, number = split_address(version)
    if whose and product and whose != product:
        raise UserError(f"{version} and --product {product} name different products; leave one out")
    # Resolved before the rollback, so that an ambiguous number changes nothing.
    chosen = find_product(list_products(tracker.client), whose or product, number)
    registry = tracker.registry_of(chosen)
    allowed: list[str] = []
    check = rollback_check(tracker, Path.cwd(), force, allowed)
    move = registry.rollback(number, reason, current_user(), force, check)
    was = f" instead of version {move.before}" if move.before else ""
    said = f"version {move.now} of {chosen.name} is now the champion{was}"
    from flows.orchestration.decision_effects import announce_champion

    for sentence in (*allowed, said, *announce_champion(Path.cwd(), registry, move.now, said)):
        Console(highlight=False).print(escape(sentence), soft_wrap=True)


def _models_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        # Short columns are never wrapped; the reason gets the rest of the line.
        wide = column == "reason"
        table.add_column(column, no_wrap=not wide, overflow="fold" if wide else "ellipsis")
    return table


def _moves_table(registry: Registry, moves: list[AliasChange]) -> Table:
    from tasks.tracking.alias_changes import describe_change

    table = _models_table("product", "when", "was", "now", "reason")
    for move in moves:
        names = (move.before or "none", move.now or "none")
        table.add_row(
            escape(registry.product.name), _local_time(move.time), *names, escape(describe_change(move))
        )
    return table


def _describe_last_move(version: str, moves: list[AliasChange]) -> str:
    """Return why a version is champion, or no longer is; empty if it never was."""
    from tasks.tracking.alias_changes import describe_change

    if moves and moves[-1].now == version:
        return describe_change(moves[-1])
    left = next((move for move in reversed(moves) if move.before == version), None)
    return f"replaced by version {left.now or 'none'} ({describe_change(left)})" if left else ""


def _describe_champion(registry: Registry, move: AliasChange) -> str:
    from tasks.tracking.alias_changes import describe_change

    whose = escape(registry.product.name)
    return (
        f"champion of {whose}: version {move.now}, since {_local_time(move.time)} "
        f"({escape(describe_change(move))})"
    )


def _local_time(moment: str) -> str:
    """Return a time in UTC as local time for display; "unknown" for an empty one."""
    if not moment:
        return "unknown"
    # timegm, not mktime: the record is in UTC.
    seconds = timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def current_user() -> str:
    """Return the login name of the user who runs the command."""
    try:
        # By the process's user id: $USER can be set to anything.
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
