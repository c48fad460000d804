"""`chatmill ingest --dry-run`: show what each source holds and whether a run would stop. Write nothing.

`chatmill run --dry-run` also shows which stages the run would compute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.cli.plan_output import preview_stages
from flows.common.terminal import Console, terminal_text
from flows.config import Preset
from flows.orchestration.base_version import preview_base_version
from flows.orchestration.memory_check import MemoryCheck
from flows.orchestration.page_products import ingest_parameters
from flows.orchestration.progress import progress_text
from model.errors import UserError
from model.events import Event, EventCallback, Message, Step
from tasks.common.counts import counted
from tasks.data.records import TYPES, Record, canonical_line, json_line
from tasks.data.versions.row_counts import describe_rows
from tasks.data.withdrawals import WITHDRAWN
from tasks.engine.declaration import format_number
from tasks.engine.parallel import process_pool
from tasks.onboarding.source_preview import DryRun, RunEnd, SourcePreview, dry_run, preview_end
from tasks.project.dry_run import forbid_writes
from tasks.validation.failure_words import describe_failure
from tasks.validation.summary import Findings

WIDTH = 200
# The lengths that texts are cut to, one after the other, until a row fits.
_LENGTHS = (*range(160, 40, -10), *range(40, 8, -2))
_NAMING = frozenset(("id", "source", "group"))


@contextmanager
def check_all_rows(
    preset: Preset, root: Path, console: Console
) -> Iterator[tuple[DryRun, Callable[[], RunEnd]]]:
    """Check all rows as a run does, in a temporary folder.

    `init` and the dry run both call it, so that their verdicts are the same.

    Yields:
        The findings, and a function that finds where a run would end after validation.
    """
    with (
        process_pool(preset.parallel.workers) as parallel_map,
        show_progress(console, "checking all rows, as a run does") as on_event,
        dry_run(
            ingest_parameters(preset, root), preset.validation_parameters(), root, on_event, parallel_map
        ) as found,
    ):

        def find_end() -> RunEnd:
            return preview_end(
                found, preset.split_parameters(), preset.tokenizer_parameters(),
                preset.training_requirements(root), root, parallel_map,
            )  # fmt: skip

        yield found, find_end


@forbid_writes()
def print_preview(preset: Preset, root: Path, console: Console | None = None, whole: bool = False) -> str:
    """Run ingestion and validation in a temporary folder, and print the findings.

    Args:
        preset: The preset.
        root: The project's folder.
        console: The console to print to; None: a new one.
        whole: Whether a stop before the first training is an error too, as in `chatmill run --dry-run`.

    Returns:
        Why `chatmill run` would stop although ingestion would not; empty if it would not.

    Raises:
        UserError: Ingestion (or, with `whole`, a run) would stop; the message is the command's own.
    """
    console = console or Console(highlight=False)
    # The device and the base model are checked first: they fail within a second, the rows take minutes.
    device = preset.find_device() if whole else ""
    if preset.base_model:
        with show_progress(console, "checking the base model") as on_event:
            preset = preview_base_version(preset, root, on_event)
            if whole:
                preset.check_base(root, on_event)
    memory = MemoryCheck(preset, root, device) if whole else None
    if memory:
        if line := memory.describe():
            console.print(terminal_text(line), soft_wrap=True)
        print_shortages(memory, console, labels=False)
    notes: tuple[str, ...] = ()
    plan: Sequence[str] = ()
    later = ""
    with check_all_rows(preset, root, console) as (found, find_end):
        for source in found.sources:
            for line in describe_source(source, found):
                console.print(line, soft_wrap=True)
        for line in summarize_rows(found):
            console.print(line, soft_wrap=True)
        # The later stages can only be checked on data that passed, with no part of it missing.
        stop = found.stop
        if stop is None and found.whole:
            end = find_end()
            notes, later = end.notes, end.reason
            try:
                if memory and not later:
                    print_shortages(memory, console, labels=True)
                if whole and not end.refused:
                    plan = preview_stages(preset, root, found.folder)
            except UserError as error:
                later = str(error)
            if whole:
                stop = UserError(later) if later else None
    # Printed after the temporary folder is removed, so that it is true.
    console.print("Nothing was written.")
    for sentence in notes:
        console.print(f"[yellow]{terminal_text(sentence)}[/yellow]", soft_wrap=True)
    for line in plan:
        console.print(line, soft_wrap=True)
    if stop is not None:
        raise stop
    if later:
        # Other text would look like a fault of the data: `chatmill ingest` makes a version of it.
        said = f"`chatmill ingest` would succeed, but `chatmill run` would stop: {terminal_text(later)}"
        console.print(f"[yellow]{said}[/yellow]", soft_wrap=True)
    elif found.whole:
        console.print("The data passes all checks that can stop a run.")
    else:
        console.print("Remote files are not checked yet; `chatmill ingest` fetches and checks them.")
    return later


def print_shortages(memory: MemoryCheck, console: Console, labels: bool) -> None:
    """Print the trainings that may have too little memory; `labels` as in `MemoryCheck.find_shortages`."""
    for sentence in memory.find_shortages(labels):
        console.print(f"[yellow]{terminal_text(sentence)}[/yellow]", soft_wrap=True)


@contextmanager
def show_progress(console: Console, what: str) -> Iterator[EventCallback]:
    """Yield an event callback that shows progress: a spinner on a terminal, one line elsewhere."""
    if not console.is_terminal:
        console.print(f"[dim]{what}[/dim]")
    with console.status(what) as status:

        def on_event(event: Event) -> None:
            if isinstance(event, Message):
                console.print(f"[dim]{terminal_text(event.text)}[/dim]", soft_wrap=True)
            elif isinstance(event, Step):
                status.update(f"{what}: {event.step}/{event.steps} {progress_text(event)}")

        yield on_event


def describe_source(source: SourcePreview, found: DryRun) -> Sequence[str]:
    """Return the lines about one source, as rich markup."""
    lines = [f"[bold]{terminal_text(source.name)}[/bold]"]
    if source.lacking:
        return [*lines, *(f"  would be fetched: {terminal_text(what)}" for what in source.lacking), ""]
    if source.files:
        files = counted(source.files, "files")
        lines.append(f"  {source.format or 'no format'}, {files}, {format_number(source.bytes)} bytes")
    if source.fault:
        return [*lines, f"  [red]stops:[/red] {terminal_text(source.fault)}", ""]
    if found.rows is not None:
        total, broken = found.findings.total, found.findings.unreadable
        counts = {kind: total[kind, source.name] - broken[kind, source.name] for kind in TYPES}
        faults = sum(broken[kind, source.name] for kind in TYPES)
        lines.append(f"  {describe_rows(counts, faults)}")
    lines += [f"  [dim]{terminal_text(shorten_row(row))}[/dim]" for row in source.first]
    return [*lines, ""]


def summarize_rows(found: DryRun) -> Iterator[str]:
    """Yield the lines about all rows, as rich markup: those left out, and those that a rule quarantines."""
    if found.rows is None:
        return
    if withdrawn := {kind: n for kind, n in found.rows.withdrawn.items() if n}:
        counts = ", ".join(counted(count, kind) for kind, count in withdrawn.items())
        yield f"would be left out as withdrawn: {counts} ({WITHDRAWN})"
    for row in found.findings.table():
        if row.count:
            first = f", first {row.examples[0]}" if row.examples else ""
            total = f"{format_number(row.count)} of {counted(rows_of(found.findings, row.kind), row.kind)}"
            wrong = terminal_text(f"{describe_failure(row.rule)}{first}")
            yield f"would be quarantined: {total}: {wrong}"
    if not found.findings.rules:
        totals = [(kind, rows_of(found.findings, kind)) for kind in TYPES]
        held = ", ".join(counted(count, kind) for kind, count in totals if count)
        if held:
            yield f"would be quarantined: none of {held}"


def rows_of(findings: Findings, kind: str) -> int:
    """Return how many rows of a kind were checked against the rules."""
    return sum(findings.total[kind, name] for name in findings.sources(kind))


def shorten_row(row: Record) -> str:
    """Return a row with all of its keys on one line of at most `WIDTH` characters: long texts are cut.

    The keys that name the row are left out. What a column became can therefore be seen for every column.
    """
    values = {key: value for key, value in json.loads(canonical_line(row)).items() if key not in _NAMING}
    line = ""
    for most in _LENGTHS:
        line = json_line(_cut_texts(values, most))
        if len(line) <= WIDTH:
            return line
    return line[: WIDTH - 1] + "…"


def _cut_texts(value: Any, most: int) -> Any:
    """Return a value in which no text has more than `most` characters."""
    if isinstance(value, str):
        return value if len(value) <= most else value[: most - 1] + "…"
    if isinstance(value, Mapping):
        return {key: _cut_texts(part, most) for key, part in value.items() if part not in ("", [])}
    return [_cut_texts(part, most) for part in value] if isinstance(value, list) else value
