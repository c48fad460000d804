"""`chatmill compare`: what differs between two runs of the pipeline."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.lineage import open_store

LONGEST = 40


def compare(
    before: Annotated[
        str, typer.Argument(metavar="A", help="An MLflow run's id, its beginning, or a version.")
    ],
    now: Annotated[str, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """What differs between two runs: code, data, parameters, lock, device, and figures with their change."""
    client, _ = open_store()
    from tasks.comparison import differences, facts, find_run

    first, second = find_run(client, before), find_run(client, now)
    found = differences(facts(client, first), facts(client, second))
    console = Console(highlight=False)
    console.print(f"[dim]{first.info.run_id[:8]} → {second.info.run_id[:8]}[/dim]")
    if not found:
        console.print("nothing differs")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("", "stage", "what", first.info.run_id[:8], second.info.run_id[:8], "change"):
        table.add_column(column, justify="right" if column == "change" else "left")
    for row in found:
        change = "" if row.change is None else f"{row.change:+.4g}"
        table.add_row(row.kind, row.stage, escape(row.name), _shown(row.before), _shown(row.now), change)
    console.print(table)


def _shown(value: Any) -> str:
    if value is None:
        return "[dim]none[/dim]"
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= LONGEST else f"{text[:12]}…")
