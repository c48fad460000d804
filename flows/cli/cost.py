"""`chatmill cost`: what runs took, what crashes lost, and what reuse saved."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.common.narrow_tables import print_table
from flows.common.terminal import Console
from flows.orchestration.tracker import open_store
from model.errors import UserError

if TYPE_CHECKING:
    from tasks.tracking.cost import Costs, Sum

BY = ("run", "week", "stage")
_SHORT = 12
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
# The last line of the output names the next command to type.
NEXT = {"run": "--by stage shows the cost of each stage", "week": "--by stage shows the cost of each stage",
        "stage": "--by run shows the cost of each run"}  # fmt: skip


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
    console.print(_explain_costs(whole, costs), soft_wrap=True)
    console.print(f"[dim]{NEXT[by]}; --json prints JSON[/dim]")


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
    # Columns about GPUs are left out where no run used one.
    gpu = whole.gpu_seconds + whole.gpu_saved > 0
    table = Table(box=None, pad_edge=False)
    table.add_column(by, no_wrap=True)
    columns = [
        "computed",
        "cached",
        "cut short",
        "process time",
        *(["GPU time"] if gpu else []),
        "lost",
        "saved",
    ]
    for column in (*columns, "tokens", "memory", *(["GPU memory"] if gpu else [])):
        # In a narrow terminal headers and units take a second line: a number that is cut says nothing.
        table.add_column(column.replace(" ", "\n"), justify="right", overflow="fold")
    for row in (*sums, whole):
        name = row.name
        if by == "run" and name in presets:
            name = f"{name[:_SHORT]} {presets[name][:20]}"
        table.add_row(
            escape(name), f"{row.computed}", f"{row.cached}", f"{row.ended}",
            _format_hours(row.cpu_seconds), *([_format_hours(row.gpu_seconds)] if gpu else []),
            _format_hours(row.cpu_lost + row.gpu_lost), _format_hours(row.cpu_saved + row.gpu_saved),
            _format_count(row.tokens), _format_size(row.memory),
            *([_format_size(row.gpu_memory)] if gpu else []),
            style="bold" if row is whole else "", end_section=row is sums[-1],
        )  # fmt: skip
    return table


def _explain_costs(whole: Sum, costs: Costs) -> str:
    """Return sentences that explain the table."""
    said = []
    for kind, spent, lost, saved in (
        ("Process", whole.cpu_seconds, whole.cpu_lost, whole.cpu_saved),
        ("GPU", whole.gpu_seconds, whole.gpu_lost, whole.gpu_saved),
    ):
        if spent + saved > 0:
            said.append(
                f"Runs: {costs.runs}. {kind} time: {_format_hours(spent)}; "
                f"{_format_share(lost, spent)} of it was "
                f"lost to crashes. Without the cache it would be {_format_hours(spent + saved)}: "
                f"{_format_share(saved, spent + saved)} was saved."
            )
    if whole.repeated_steps:
        said.append(f"Repeated optimizer steps: {whole.repeated_steps:,}.")
    running = sum(one.state == "running" for one in costs.taken)
    if running:
        said.append(f"Stages still running, and so not counted: {running}.")
    if costs.unmeasured:
        said.append(f"Runs of older versions, which did not measure costs: {costs.unmeasured}.")
    return " ".join(said)


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
