"""`chatmill reproduce`: make a past run again without its outputs, and compare the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.common.terminal import Console
from flows.orchestration.reproduction import reproduce_run
from flows.orchestration.tracker import open_store

if TYPE_CHECKING:
    from tasks.reproduction.verdict import StageVerdict

COLOURS = {"identical": "green", "equivalent": "cyan", "diverged": "red", "left out": "dim"}
_INTERRUPTED = 130


def reproduce(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="An MLflow run's id or its first characters, a version, champion, or NAME/champion.",
        ),
    ],
    keep_worktree: Annotated[
        bool,
        typer.Option("--keep-worktree", help="Keep the worktree and its outputs in var/cache/reproduce/."),
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run a diff that this host has no record of. Read the diff first.")
    ] = False,
) -> None:
    """Recompute a past run without its outputs, and compare the results.

    A diff that was recorded with the run is run only if this host made that run, or with `--trust`.

    Its code is restored from git with its diff, its data by its version in DVC, and its configuration and
    packages from its records. Each stage is then *identical* in its bits, *equivalent* in its metrics, or
    *diverged*. The verdict is kept with the run in MLflow. Exit code 1 if it diverged. Interrupted, the
    same command resumes from its own checkpoints.
    """
    from tasks.reproduction.reproduce import ReproductionFailed

    console = Console(highlight=False)
    client, root = open_store()
    try:
        found = reproduce_run(
            client, root, run, keep_worktree, lambda text: console.print(f"[dim]{escape(text)}[/dim]"), trust
        )
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the same command resumes from here")
        raise typer.Exit(_INTERRUPTED) from None
    # The run could not be made again, which is no verdict on it; exit code 1 as for a divergence.
    except ReproductionFailed as error:
        said = f"[red]no verdict:[/red] {escape(str(error))}; the same command resumes from there"
        Console(stderr=True, highlight=False).print(said, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print()
    console.print(verdict_table(found.verdicts))
    console.print(
        f"\n[bold {COLOURS[found.says]}]{escape(found.sentence)}[/bold {COLOURS[found.says]}]", soft_wrap=True
    )
    noted = "".join(f", version {version}" for version in found.versions)
    console.print(
        f"[dim]kept in MLflow with run {found.run[:12]}{noted}: tag chatmill.reproduced, reproduced.md[/dim]",
        soft_wrap=True,
    )
    for said in found.damaged:
        console.print(f"[red]{escape(said)}[/red]; restore a backup with `chatmill restore`", soft_wrap=True)
    # A script can tell by the exit code; the verdict itself is in MLflow.
    if found.says == "diverged":
        if not keep_worktree:
            console.print("[dim]--keep-worktree keeps the outputs for inspection[/dim]")
        raise typer.Exit(1)
    if found.damaged:
        raise typer.Exit(1)


def verdict_table(verdicts: list[StageVerdict]) -> Table:
    """Return the verdicts as a table with one row a stage."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "verdict", "reason"):
        table.add_column(column, no_wrap=column != "reason")
    for each in verdicts:
        table.add_row(each.stage, Text(each.says, COLOURS[each.says]), escape(each.reason))
    return table
