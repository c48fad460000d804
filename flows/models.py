"""`chatmill models` and `chatmill rollback`: the versions, who is champion and why, and another champion."""

from __future__ import annotations

import os
import pwd
import time
from calendar import timegm
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.project_paths import MLFLOW_FOLDER

if TYPE_CHECKING:
    from tasks.moves import Move
    from tasks.tracking import Tracker

EXPERIMENT = "chatmill"
# What a person was asked about a version.
STANDS = {"waits": "[yellow]waits[/yellow]", "refused": "refused", "late": "refused"}


def open_tracker(mlflow: str = "", experiment: str = EXPERIMENT) -> Tracker:
    """MLflow's store of this project, or that of a preset's `tracking`."""
    from flows.surroundings import prepare

    place = prepare(Path.cwd(), mlflow)
    # After the environment is set, as MLflow reads it when it is imported.
    from tasks.tracking import Tracker

    return Tracker(place.mlflow, experiment, place.root / MLFLOW_FOLDER)


def models(
    history: Annotated[
        bool, typer.Option("--history", help="Every champion there was: since when, by whom, why.")
    ] = False,
) -> None:
    """The registered versions: their figures, who is champion, since when and why, and why one is not."""
    registry = open_tracker().registry
    from tasks.approval import standing
    from tasks.approval import told as told_person

    console = Console(highlight=False)
    versions = registry.versions()
    moves = registry.moves()
    if history:
        console.print(_moves(moves) if moves else "No model has been champion yet.")
        return
    if not versions:
        console.print("No model is registered yet; `chatmill run` registers what it makes.")
        return
    champion = moves[-1].now if moves else ""
    table = _table("version", "made", "", "figures", "why")
    for version in versions:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.creation_timestamp / 1000))
        name, stands = str(version.version), standing(version.tags)
        holds = "[green]champion[/green]" if name == champion else STANDS.get(stands, "")
        asked = stands and name != champion
        reason = escape(told_person(version) if asked else version.tags.get("reason", ""))
        table.add_row(name, made, holds, _figures(version.tags), reason)
    console.print(table)
    console.print(_champion(moves[-1]) if champion else "No version is champion.", soft_wrap=True)


def rollback(
    why: Annotated[str, typer.Option("--why", "-w", help="The reason, kept in the history.")],
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="Which (none named: the champion before this one).")
    ] = "",
    even_so: Annotated[
        bool, typer.Option("--even-so", help="Also a version that never passed the gate.")
    ] = False,
) -> None:
    """Make an earlier version the champion again, or any that passed the gate.

    The gate does not promote again the model that was rolled back from; one that beats the champion's score
    still becomes champion, and the run says that it goes over a rollback.
    """
    move = open_tracker().registry.rollback(version, why, person(), even_so)
    was = f" instead of version {move.before}" if move.before else ""
    console = Console(highlight=False)
    console.print(f"version {move.now} is now the champion{was}", soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        # What is short stays whole; figures and reasons share the rest of the line.
        table.add_column(column, no_wrap=column not in ("figures", "why"))
    return table


def _figures(tags: dict[str, str]) -> str:
    from tasks.approval import figures

    return escape(", ".join(f"{name} {value:.3g}" for name, value in figures(tags).items()))


def _moves(moves: list[Move]) -> Table:
    from tasks.moves import told

    table = _table("when", "was", "now", "why")
    for move in moves:
        table.add_row(_local(move.time), move.before or "none", move.now or "none", escape(told(move)))
    return table


def _champion(move: Move) -> str:
    from tasks.moves import told

    return f"champion: version {move.now}, since {_local(move.time)} ({escape(told(move))})"


def _local(moment: str) -> str:
    """A time in UTC as this machine's clock shows it."""
    if not moment:
        return "unknown"
    seconds = timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def person() -> str:
    """Who types."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
