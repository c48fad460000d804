"""`chatmill backup` and `chatmill restore`: write a project's records to one file, and read them back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.common.terminal import Console
from flows.servers.database import DATABASE_SETTING
from model.errors import UserError
from tasks.backup.archive import write_backup
from tasks.backup.restore import restore_backup
from tasks.cleanup.output_gc import show_size
from tasks.common.counts import counted
from tasks.common.git_checkout import would_be_added
from tasks.project.database_check import check_mlflow_database
from tasks.project.paths import CACHE, JUDGEMENTS_DATABASE, RECORDS

# The most entries that a message names.
_NAMED = 5


def backup(
    target: Annotated[
        str,
        typer.Argument(metavar="FILE|DIR", help="A file, as records.tar or records.tar.gz, or a folder."),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing backup.")] = False,
) -> None:
    """Copy the records to one file: the registry, rollbacks, approvals, costs, runs and registered models.

    Runs and servers may continue meanwhile. The file holds what is in var/ and no command can make again:
    MLflow's database and files, the announced labels, the last summary and the pages. It names people and
    is readable by you alone.

    It leaves out var/cache (it can be computed again), credentials, logs and Prefect's database. Git and DVC
    keep the rest: commit presets, configs/withdrawn.jsonl and data.dvc, and run `dvc push` for the data.

    Where CHATMILL_DATABASE names a PostgreSQL, back up its databases too: `pg_dump NAME_mlflow`.
    """
    if not (os.environ.get(DATABASE_SETTING) or os.environ.get("MLFLOW_TRACKING_URI")):
        # A damaged database must fail here: a backup without the registry would look complete.
        check_mlflow_database(Path.cwd())
    # A path forgets the slash, by which a user means a folder.
    if target.endswith("/") and not Path(target).is_dir():
        raise UserError(f"{target} is not a folder; create it first, or name a file, as in records.tar.gz")
    found = write_backup(Path.cwd(), Path(target), force)
    console = Console(highlight=False)
    console.print(
        f"backed up: {counted(found.files, 'files')}, {show_size(found.size)}, in "
        f"[bold]{escape(str(found.path))}[/bold]",
        soft_wrap=True,
    )
    if would_be_added(found.path):
        name = escape(found.path.name)
        text = (
            f"{name} names people, and git does not ignore it, so `git add` could publish it; move it out of "
            f"the repository, or write its name into .gitignore"
        )
        console.print(f"[yellow]{text}[/yellow]", soft_wrap=True)
    # A damaged model is reported, not refused: the other records are worth a backup anyway.
    for said in found.damaged:
        text = f"{said}; an older backup may contain the original; `chatmill restore` restores it"
        console.print(f"[yellow]{escape(text)}[/yellow]", soft_wrap=True)
    if found.left_out:
        count = len(found.left_out)
        names = ", ".join(f"{RECORDS}/{name}" for name in found.left_out[:_NAMED])
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        text = (
            f"not in it: {names}{more}: {'a link' if count == 1 else 'links'}, or no regular file; "
            "put a copy of what a link leads to in its place, or back that up yourself"
        )
        console.print(f"[yellow]{escape(text)}[/yellow]", soft_wrap=True)
    console.print(
        f"[dim]not included: {CACHE}/, credentials, logs, Prefect's database, files in git and DVC[/dim]",
        soft_wrap=True,
    )
    _note_other_stores(console, "`pg_dump NAME_mlflow > mlflow.sql` backs it up")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `chatmill backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace existing records; they are kept in var/replaced-DATE.")
    ] = False,
) -> None:
    """Put the records of a backup in place, all or none, after checking each file's SHA-256.

    End `chatmill up` and runs first. Records that are here are replaced with --force alone, and kept in
    var/replaced-DATE. On a new machine: clone the repository, `dvc pull`, then this. The outputs of stages
    are made again by the next run.

    Where CHATMILL_DATABASE names a PostgreSQL, restore its databases too: `psql NAME_mlflow < mlflow.sql`.
    """
    found, replaced = restore_backup(Path.cwd(), source, force)
    console = Console(highlight=False)
    files = counted(found.files, "files")
    console.print(f"restored: {files}, {show_size(found.size)}, in {RECORDS}/", soft_wrap=True)
    if replaced is not None:
        # The replaced records are never deleted by chatmill: they may be the only copy.
        kept = replaced.relative_to(Path.cwd())
        console.print(
            f"the replaced records are in [bold]{kept}[/bold]; delete that folder once you no longer need it"
        )
    if (Path.cwd() / JUDGEMENTS_DATABASE).exists():
        console.print(
            "people of the label page sign in with new links (`chatmill people add NAME`); "
            "`chatmill people list` shows them, with those who were removed since the backup",
            soft_wrap=True,
        )
    _note_other_stores(console, "`psql NAME_mlflow < mlflow.sql` restores it")


def _note_other_stores(console: Console, advice: str) -> None:
    if os.environ.get(DATABASE_SETTING):
        said = f"{DATABASE_SETTING} is set: the registry is in PostgreSQL and not in this file; {advice}"
    elif os.environ.get("MLFLOW_TRACKING_URI"):
        said = "MLFLOW_TRACKING_URI is set: the registry is in that store; back it up where it runs"
    else:
        return
    console.print(f"[yellow]{said}[/yellow]", soft_wrap=True)
