"""`chatmill data`: list the versions of the data, and show the differences between two of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.common.terminal import Console, one_line
from tasks.common.counts import counted
from tasks.data.records import TYPES

if TYPE_CHECKING:
    from tasks.data.versions.version_history import Version

data = typer.Typer(
    help="List versions of the data and show the differences between them.", no_args_is_help=True
)
Remote = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The preset whose data.remote stores the versions."),
]


@data.command()
def log(
    limit: Annotated[int, typer.Option("--limit", "-n", help="Maximum number shown (0: all).", min=0)] = 20,
) -> None:
    """List the versions of data.dvc, the newest first: date, hash, commit, rows, and why it changed.

    Without git: the versions that were made in this folder.
    """
    from tasks.common.git_checkout import git_problem, is_empty, is_shallow
    from tasks.data.versions import version_history

    console = Console(highlight=False)
    found, problem = version_history.version_log(Path.cwd()), git_problem(Path.cwd())
    if problem:
        console.print(
            f"[yellow]{escape(problem)}[/yellow]: lists only versions made in this folder",
            soft_wrap=True,
        )
    elif is_shallow(Path.cwd()):
        console.print("[yellow]this clone is shallow[/yellow], so older commits are not listed")
    if not found:
        console.print("There is no version of the data yet; `chatmill ingest` makes one.")
        return
    for index, version in enumerate(found[: limit or None]):
        before = found[index + 1] if index + 1 < len(found) else None
        sources = "the first" if before is None else _explain_change(before, version)
        date = version.date[:16].replace("T", " ") or "some day"
        unread = problem and not is_empty(problem)
        unknown = "[yellow]commit unknown[/yellow]" if unread else "[yellow]not committed[/yellow]"
        commit = version.commit[:10] or unknown
        said = f"[bold]{version.hash[:12]}[/bold]  {date}  {commit}  {one_line(version.subject)}"
        console.print(said.rstrip(), soft_wrap=True)
        rows = ", ".join(counted(version.rows[kind], kind) for kind in TYPES if version.rows.get(kind))
        console.print(f"              {rows or 'rows not counted'}; {sources}", soft_wrap=True)
    if limit and len(found) > limit:
        console.print(f"{len(found) - limit:,} more: `--limit 0` shows all")


@data.command()
def diff(
    before: Annotated[
        str, typer.Argument(metavar="A", help="A git revision, or a version's hash or its beginning.")
    ] = "",
    now: Annotated[
        str, typer.Argument(metavar="B", help="Another version, or `working` for the present data/.")
    ] = "working",
    rows: Annotated[int, typer.Option("--rows", help="Number of example rows of each kind.", min=0)] = 0,
    config: Remote = None,
) -> None:
    """Show rows added, changed and gone between two versions, by kind and source. Default: HEAD and data/.

    Files that are not on this machine are fetched from the remote into DVC's cache; data/ is not changed.
    """
    from rich.table import Table

    from flows.servers.environment import prepare_environment
    from tasks.data.versions import version_history
    from tasks.data.versions.version_diff import compare_versions
    from tasks.dvc import remote, versions

    root = Path.cwd()
    prepare_environment(root)
    if config is not None:
        from flows.config import read_preset

        wanted = read_preset(config).data
        with versions.open_repository(root) as repo:
            remote.set_remote(repo, root, wanted.remote, wanted.endpoint)
    # The default is what a reviewer asks: the committed version against the working data.
    first = version_history.last_accepted(root) if not before else _find_version(root, before)
    second = _find_version(root, now)
    found = compare_versions(root, first, second, rows)
    console = Console(highlight=False)
    console.print(f"[dim]{first[:12]} → {second[:12]}[/dim]")
    if not found.counts:
        console.print("no row differs")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("rows")
    table.add_column("source")
    for column in ("added", "changed", "gone"):
        table.add_column(column, justify="right")
    for count in found.counts:
        numbers = (count.added, count.changed, count.gone)
        table.add_row(
            count.kind, escape(count.source), *(f"{number:,}" if number else "" for number in numbers)
        )
    sums = (sum(getattr(count, name) for count in found.counts) for name in ("added", "changed", "gone"))
    table.add_row("[bold]all[/bold]", "", *(f"{total:,}" for total in sums))
    console.print(table)
    for example in found.examples:
        if example.before:
            console.print(f"[red]- {example.kind}[/red] {escape(example.before)}", soft_wrap=True)
        if example.now:
            console.print(f"[green]+ {example.kind}[/green] {escape(example.now)}", soft_wrap=True)


def _explain_change(before: Version, version: Version) -> str:
    """Return why a version differs from the one before."""
    sources = "other sources" if before.sources != version.sources else "the same sources"
    if before.withdrawn == version.withdrawn:
        return sources
    return f"{sources}, {'other rows withdrawn' if version.withdrawn else 'no rows withdrawn any more'}"


def _find_version(root: Path, name: str) -> str:
    from tasks.data.versions import version_history

    return name if name == version_history.WORKING else version_history.find_version_hash(root, name)
