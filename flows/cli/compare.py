"""`chatmill compare`: the differences between two runs of the pipeline, as a table and as a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from flows.cli.models import print_files
from flows.common.terminal import Console, one_line
from flows.orchestration.tracker import open_store
from model.atomic_file import replace_text
from model.errors import error_reason
from tasks.common.counts import counted
from tasks.project.paths import RECORDS

if TYPE_CHECKING:
    from tasks.tracking.run_diff import Difference

_LONGEST = 40
# So many metrics of less weight are printed without being asked for.
_FEW = 20
_VALUE = 12  # characters of a value that fit on any terminal
# Characters of a name's line, of which the first that fits is taken.
_NAME_LINES = (40, 32, 26, 22, 18, 15, 12)
_DIGEST = re.compile(r"[0-9a-f]{32,}(\.dir)?")


def compare(
    before: Annotated[
        str, typer.Argument(metavar="A", help="An MLflow run's id, its beginning, a version, or champion.")
    ],
    now: Annotated[
        str, typer.Argument(metavar="B", help="The run to compare it with, named in the same ways.")
    ],
    whole: Annotated[bool, typer.Option("--all", help="Print every metric that differs.")] = False,
) -> None:
    """Compare two runs: the main metrics, then code, data, parameters, lock file, device and other metrics.

    A page with all metrics and the curves of both goes to var/compare-A-B.html.
    """
    client, root = open_store()
    from tasks.tracking.run_diff import (
        RUN_ID_CHARS,
        describe_run,
        find_run,
        registered_version,
        run_differences,
        run_facts,
        run_labels,
    )
    from tasks.tracking.run_diff_page import diff_page
    from tasks.tracking.version_files import VersionFiles

    first, second = find_run(client, before), find_run(client, now)
    found = run_differences(run_facts(client, first), run_facts(client, second))
    console = Console(highlight=False)
    ids = [each.info.run_id[:RUN_ID_CHARS] for each in (first, second)]
    names = run_labels(client, (first, second), (before, now))
    path = root / RECORDS / f"compare-{'-'.join(ids)}.html"
    unwritten = _write_page(path, diff_page(client, (first, second), found, names))
    for name, run in zip(names, (first, second), strict=True):
        console.print(f"[dim]{one_line(f'{name}: {describe_run(run)}')}[/dim]", soft_wrap=True)
    _print_differences(console, found, names, whole)
    files = VersionFiles(client, root)
    versions = [registered_version(client, *pair) for pair in ((first, before), (second, now))]
    for version in {f"{each.name}/{each.version}": each for each in versions if each}.values():
        print_files(console, files.look_at(version))
    page = f"The page, with the curves of both: [bold]{RECORDS / path.name}[/bold]"
    console.print(f"\n{f'[yellow]{escape(unwritten)}[/yellow]' if unwritten else page}", soft_wrap=True)


def _write_page(path: Path, page: str) -> str:
    """Write the page; return why it could not be written, as for a user who may only read the project."""
    try:
        replace_text(path, page)
    except OSError as error:
        return f"the page with the curves was not written: {RECORDS / path.name}: {error_reason(error)}"
    return ""


def _print_differences(console: Console, found: list[Difference], names: list[str], whole: bool) -> None:
    """Print the main metrics, then the other differences; of many further metrics only their number."""
    from tasks.tracking.run_diff import APART, is_apart, main_differences

    # Differences that say little about the models are listed in tables of their own, below.
    apart = {what: [row for row in found if is_apart(row, what)] for what in APART}
    told = [row for row in found if not any(row in rows for rows in apart.values())]
    main = main_differences(told)
    told = [row for row in told if row not in main]
    metrics = [row for row in told if row.kind == "figure"]
    left_out = len(metrics) + sum(map(len, apart.values()))
    if whole or left_out <= _FEW:
        left_out = 0
    else:
        told = [row for row in told if row not in metrics]
    if main:
        console.print("\n[bold]is the model better?[/bold]")
        _print_rows(console, main, names, one_stage=len({row.stage for row in main}) == 1)
    if told:
        console.print("\n[bold]what else differs[/bold]" if main else "")
        _print_rows(console, told, names)
    elif not main:
        console.print("no differences except those below" if any(apart.values()) else "nothing differs")
    if left_out:
        says = f"{counted(left_out, 'more metrics')} differ; --all prints them"
        console.print(f"[dim]{says}[/dim]", soft_wrap=True)
        return
    for what, rows in apart.items():
        if rows:
            console.print(f"\n[dim]{APART[what]}[/dim]", soft_wrap=True)
            console.print(_fitting_table(console, rows, names))


def _print_rows(console: Console, rows: list[Difference], names: list[str], one_stage: bool = False) -> None:
    """Print differences in a table, with a sentence for each mark in it."""
    from tasks.tracking.run_diff import mark_notes

    console.print(_fitting_table(console, rows, names, one_stage))
    for note in mark_notes(rows):
        console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)


def _fitting_table(
    console: Console, rows: list[Difference], names: list[str], one_stage: bool = False
) -> Table:
    """Return the table of differences, with the longest lines of names that fit the terminal.

    On a narrow one, intervals stand below their values.
    """
    table = _diff_table(rows, names, one_stage)
    wide = console.options.update(width=10_000)
    if Measurement.get(console, wide, table).maximum <= console.width:
        return table
    for longest in _NAME_LINES:
        table = _diff_table(rows, names, one_stage, longest)
        if Measurement.get(console, wide, table).minimum <= console.width:
            return table
    return table


def _diff_table(rows: list[Difference], names: list[str], one_stage: bool = False, longest: int = 0) -> Table:
    """Return a table; `longest` is the length of a line of a name on a narrow terminal, 0: any."""
    narrow = longest > 0
    shown = [row.label or (break_name(row.name, longest) if narrow else row.name) for row in rows]
    # A label is words, which wrap by themselves.
    name_width = max((len(line) for text in shown for line in text.split("\n") if " " not in line), default=0)
    table = Table(box=None, pad_edge=False)
    # The main metrics of one stage need no column for it: their names get the room.
    before = () if one_stage else ("", "stage")
    # Between parameters nothing is counted, so that the column would take room from the values.
    changes = ["change"] if any(row.change_text for row in rows) else []
    for column in (*before, "what", *map(one_line, names), *changes):
        # A name that was cut would be that of several metrics, so it is folded on a narrow terminal.
        table.add_column(
            column, justify="right" if column == "change" else "left", overflow="fold",
            min_width=name_width if column == "what" else _VALUE if column in names else None,
            no_wrap=column in ("", "stage", "change"),
        )  # fmt: skip
    for row, text in zip(rows, shown, strict=True):
        table.add_row(
            *((row.kind, escape(row.stage)) if before else ()),
            escape(text),
            _format_value(row.before, narrow),
            _format_value(row.now, narrow),
            *([row.change_text] if changes else []),
        )
    return table


def break_name(name: str, longest: int) -> str:
    """Return the name of a parameter or a metric in lines, broken after a dot, or else an underscore.

    A part without either is longer than a line rather than cut.
    """
    lines = [""]
    for part in re.findall(r"[^.]+\.?|\.", name):
        # Only a part that no line can hold is broken inside.
        for piece in [part] if len(part) <= longest else re.findall(r"[^_]+_?|_", part):
            if lines[-1] and len(lines[-1]) + len(piece) > longest:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


def _format_value(value: Any, narrow: bool = False) -> str:
    from tasks.tracking.run_diff import IntervalMetric

    if value is None:
        return "[dim]none[/dim]"
    if narrow and isinstance(value, IntervalMetric):
        # A space within an interval would be the place where the line is broken.
        ends = f"{value.low:.3g} to {value.high:.3g}".replace(" ", "\u00a0")
        return f"{value.value:.4g}\n[dim]{ends}[/dim]"
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    if _DIGEST.fullmatch(text):
        return text[:_VALUE]
    return escape(text if len(text) <= _LONGEST else f"{text[:_VALUE]}…")
