"""`chatmill cost`: what runs took, what crashes lost, and what reuse saved."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.common.narrow_tables import print_table
from flows.common.terminal import Console
from flows.orchestration.tracker import open_store
from model.errors import UserError
from tasks.common.counts import counted

if TYPE_CHECKING:
    from tasks.tracking.cost import Costs, Sum

BY = ("run", "week", "stage")
_SHORT = 12
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# The last line of the output names the next command to type.
_NEXT = {"run": "stage", "week": "stage", "stage": "run"}
# What the columns of the table mean, those about crashes apart.
_LEGEND = (
    "Computed and cached count stages. Process time counts for each process: 2 processes for a minute take "
    "2 min. Saved: what cached stages took when they were computed. Memory: the most at once."
)
_CRASH_LEGEND = (
    "Cut short: stages that stopped, and that no later run resumed. Lost: the time of these, and of steps "
    "that were done twice."
)


def cost(
    by: Annotated[str, typer.Option("--by", help="run, week or stage.")] = "stage",
    since: Annotated[str, typer.Option("--since", help="Start of the period: 30d, 12h, 2w, or all.")] = "30d",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show device-hours, tokens and memory of runs, and the time lost to crashes and saved by the cache.

    A device-hour is an hour of one GPU, or of one process on CPUs. Lost is the time of a killed or failed
    stage that no later run resumed, and of resumed trainings the steps that were done twice. Saved is what
    reused stages took when they were made.
    """
    if by not in BY:
        raise UserError(f"--by {by}: expected run, week or stage")
    began = _parse_age(since)
    client, _ = open_store()
    from tasks.tracking.cost import in_all, read_costs, sum_costs

    costs = read_costs(client, began)
    sums, whole = sum_costs(costs.taken, by), in_all(costs.taken)
    if as_json:
        told = {"by": by, "since": since, "runs": costs.runs, "unmeasured_runs": costs.unmeasured}
        # print, not the console, which would wrap lines and interpret markup.
        print(json.dumps({**told, "rows": [asdict(row) for row in sums], "in_all": asdict(whole)}, indent=1))
        return
    console = Console(highlight=False)
    if not sums:
        span = "" if since == "all" else f" since {since}"
        console.print(f"No run{span} recorded costs; --since all includes all runs.")
        return
    presets = {one.run: one.preset for one in costs.taken}
    print_table(console, _cost_table(by, sums, whole, presets))
    console.print()
    for sentence in _explain_costs(whole, costs, since):
        console.print(sentence)
    console.print(f"[dim]{_LEGEND}{f' {_CRASH_LEGEND}' if _had_crashes(whole) else ''}[/dim]")
    console.print(f"[dim]`chatmill cost --by {_NEXT[by]}` shows each {_NEXT[by]}; --json prints JSON.[/dim]")


def _parse_age(text: str) -> float:
    """Return the start of an age such as `30d` in seconds since 1970. Raise UserError for any other text."""
    if text == "all":
        return 0.0
    number, unit = text[:-1], text[-1:]
    # Checked by hand: float() would take "nan", "inf" and "1e9" too.
    if unit not in _SECONDS or not number.replace(".", "", 1).isdecimal():
        raise UserError(
            f"--since {text!r} is not a valid age; write a number and m, h, d or w, as in 30d, or all"
        )
    return max(0.0, time.time() - float(number) * _SECONDS[unit])


def _cost_table(by: str, sums: list[Sum], whole: Sum, presets: dict[str, str]) -> Table:
    # Columns about GPUs, and about crashes, are left out where there were none.
    gpu = whole.gpu_seconds + whole.gpu_saved > 0
    crashed = _had_crashes(whole)
    shown: dict[str, tuple[bool, Callable[[Sum], str]]] = {
        "computed": (True, lambda row: f"{row.computed}"),
        "cached": (True, lambda row: f"{row.cached}"),
        "cut short": (crashed, lambda row: f"{row.ended}"),
        "process time": (True, lambda row: _format_hours(row.cpu_seconds)),
        "GPU time": (gpu, lambda row: _format_hours(row.gpu_seconds)),
        "lost": (crashed, lambda row: _format_hours(row.cpu_lost + row.gpu_lost)),
        "saved": (True, lambda row: _format_hours(row.cpu_saved + row.gpu_saved)),
        "tokens": (True, lambda row: _format_count(row.tokens)),
        "memory": (True, lambda row: _format_size(row.memory)),
        "GPU memory": (gpu, lambda row: _format_size(row.gpu_memory)),
    }
    columns = {name: form for name, (there, form) in shown.items() if there}
    table = Table(box=None, pad_edge=False)
    table.add_column(by, no_wrap=True)
    for name in columns:
        # In a narrow terminal headers and units take a second line: a number that is cut says nothing.
        table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
    for row in (*sums, whole):
        name = "total" if row is whole else row.name
        if by == "run" and name in presets:
            name = f"{name[:_SHORT]} {presets[name][:20]}"
        cells = (form(row) for form in columns.values())
        style = "bold" if row is whole else ""
        table.add_row(escape(name), *cells, style=style, end_section=row is sums[-1])
    return table


def _had_crashes(whole: Sum) -> bool:
    return whole.ended + whole.cpu_lost + whole.gpu_lost > 0


def _explain_costs(whole: Sum, costs: Costs, since: str) -> list[str]:
    """Return the sentences below the table: the totals first, then what the table leaves out."""
    span = "" if since == "all" else f" of the last {since}"
    said = []
    for kind, spent, lost, saved in (
        ("process", whole.cpu_seconds, whole.cpu_lost, whole.cpu_saved),
        ("GPU", whole.gpu_seconds, whole.gpu_lost, whole.gpu_saved),
    ):
        if spent + saved > 0:
            crashes = f"{_format_hours(lost)} of it ({_format_share(lost, spent)})" if lost else "nothing"
            cache = (
                f"The cache saved {_format_hours(saved)}: without it, it would be "
                f"{_format_hours(spent + saved)}."
                if saved
                else "The cache saved nothing."
            )
            took = f"{_format_hours(spent)} of {kind} time" if spent else f"no {kind} time"
            cut = f"Crashes and interruptions cost {crashes}."
            said.append(f"{counted(costs.runs, 'runs')}{span} took {took}. {cut} {cache}")
    if whole.repeated_steps:
        said.append(f"Training steps that were done twice: {whole.repeated_steps:,}.")
    running = sum(one.state == "running" for one in costs.taken)
    if running:
        said.append(f"Stages still running, and so not counted: {running}.")
    if costs.unmeasured:
        said.append(f"Runs of older versions, which did not measure costs: {costs.unmeasured}.")
    return said


def _format_share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "0%"


def _format_hours(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds else "–"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.2f} h"


def _format_count(value: int) -> str:
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.1f}{name}"
    return str(value) if value else "–"


def _format_size(value: int) -> str:
    return f"{value / 1e9:.2f} GB" if value else "–"
