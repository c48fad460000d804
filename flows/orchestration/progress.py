"""Terminal output while a flow runs, and when it has ended."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from flows.common.terminal import Console, escape_controls, terminal_text
from model.events import Event, MarkdownTable, Message, Step
from tasks.common.counts import counted
from tasks.common.program_call import REPRODUCTION, program_call
from tasks.common.stage_status import CACHED, status_of
from tasks.engine.catalog import read_declaration
from tasks.engine.output import StageOutput
from tasks.project.paths import REPORT

if TYPE_CHECKING:
    from tasks.tracking.tracker import Tracker

QUARTERS = 4
# Without a terminal, the longest time between two lines.
LINE_SECONDS = 15.0
LIVE = ("loss", "reward", "kl")


def key_figures(stage: str, metrics: dict[str, Any]) -> str:
    """Return a stage's result in the words that it declares; empty for a stage without any."""
    headline = read_declaration(stage, None).headline
    return headline(metrics) if headline else ""


def format_duration(value: float) -> str:
    """Return a duration in seconds as text for people."""
    return f"{value:.1f} s" if value < 100 else f"{int(value) // 60} min {int(value) % 60:02d} s"


def progress_text(event: Step) -> str:
    """Return the live metrics of a step, its pace and the time left, as one line."""
    parts = [f"{name} {event.metrics[name]:.3f}" for name in LIVE if name in event.metrics]
    if event.tokens_per_second:
        parts.append(f"{event.tokens_per_second:,.0f} tokens/s")
    if event.megabytes_per_second:
        parts.append(counted(event.rows, "rows"))
        parts.append(byte_rate(event.megabytes_per_second))
    if parts and event.seconds_left is not None:
        parts.append(f"{format_duration(event.seconds_left)} left")
    return " · ".join(parts)


def byte_rate(megabytes: float) -> str:
    """Return megabytes a second in a unit in which the number does not round to 0."""
    if megabytes >= 0.1:
        return f"{megabytes:,.1f} MB/s"
    return f"{megabytes * 1e3:,.1f} kB/s" if megabytes >= 1e-4 else f"{megabytes * 1e6:,.0f} B/s"


class ProgressDisplay:
    """The display of a run: a bar for the current stage, a line for each that has ended.

    Without a terminal it prints four lines a stage, and one whenever LINE_SECONDS passed without one. `log`
    gets the lines of ended stages, for Prefect's page.
    """

    def __init__(
        self, name: str, device: str, log: Callable[[str], None], console: Console | None = None
    ) -> None:
        self.console = console or Console(highlight=False)
        self.log = log
        self.name, self.device = name, device
        self.stage = ""
        self.quarter = 0
        # The newest progress of the stage that is not printed yet.
        self.unprinted = ""
        self.at_work = False
        self.stage_began = self.printed = time.monotonic()
        self.ended = threading.Event()
        self.progress = Progress(
            SpinnerColumn(), TextColumn("{task.description:<9}"), BarColumn(bar_width=28),
            MofNCompleteColumn(), TextColumn("{task.fields[says]}"),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self.bar: Any = None

    def __enter__(self) -> ProgressDisplay:
        self.console.print(f"[bold]chatmill[/bold] {terminal_text(self.name)} on {self.device}")
        self.progress.__enter__()
        if not self.console.is_terminal:
            threading.Thread(target=self._print_regularly, name="progress", daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.ended.set()
        self.progress.__exit__(*error)

    def _print_regularly(self) -> None:
        while not self.ended.wait(1.0):
            self.print_if_silent()

    def print_if_silent(self) -> None:
        """Print a line of the current stage if the last line is LINE_SECONDS old."""
        now = time.monotonic()
        if self.at_work and now - self.printed >= LINE_SECONDS:
            text = self.unprinted or f"at work for {format_duration(now - self.stage_began)}"
            self._print_line(f"  {self.stage:<9} {text}")

    def _print_line(self, line: str) -> None:
        self.unprinted, self.printed = "", time.monotonic()
        self.console.print(line, soft_wrap=True)

    def start_stage(self, stage: str) -> None:
        """Show that a stage begins."""
        self.stage, self.quarter, self.unprinted = stage, 0, ""
        self.stage_began = self.printed = time.monotonic()
        self.at_work = True
        self.bar = self.progress.add_task(stage, total=None, says="", completed=0)

    def show_event(self, event: Event) -> None:
        """Show an event of the current stage."""
        if isinstance(event, Message):
            self.show_note(event.text)
        elif isinstance(event, Step):
            says = progress_text(event)
            self.progress.update(self.bar, total=event.steps, completed=event.step, says=says)
            if self.console.is_terminal or not says:
                return
            self.unprinted = f"{event.step}/{event.steps} {says}"
            quarter = QUARTERS * event.step // max(1, event.steps)
            if quarter > self.quarter:
                self.quarter = quarter
                self._print_line(f"  {self.stage:<9} {self.unprinted}")

    def show_note(self, text: str) -> None:
        """Show a sentence for the user, and log it."""
        self._print_line(f"  [dim]{self.stage:<9} {escape(text)}[/dim]")
        self.log(f"{self.stage}: {text}")

    def finish_stage(self, reference: StageOutput, took: float) -> None:
        """Show that a stage has ended: whether it was computed or cached, its seconds and its result."""
        if self.bar is not None:
            self.progress.remove_task(self.bar)
        how = "[cyan]cached[/cyan]  " if reference.reused else "[green]computed[/green]"
        figures = key_figures(reference.stage, reference.metrics)
        line = (
            f"[bold]{reference.stage:<10}[/bold] {how} {format_duration(took):>11}  {terminal_text(figures)}"
        )
        # No line of its progress comes after its last line.
        self.at_work = False
        self._print_line(line)
        self.log(f"{reference.stage}: {status_of(reference.reused)}, {format_duration(took)}, {figures}")


def show_outcome(outcome: Any, console: Console | None = None) -> None:
    """Print the stages in a table, the answers side by side, and the next commands."""
    console = console or Console(highlight=False)
    table = Table(
        title=f"total time: {format_duration(outcome.seconds)}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("stage", "", "seconds", "figure"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for entry in outcome.stages:
        colour = "cyan" if entry["status"] == CACHED else "green"
        figures = terminal_text(key_figures(entry["name"], entry["metrics"]))
        table.add_row(entry["name"], Text(entry["status"], colour), f"{entry['seconds']:.1f}", figures)
    console.print()
    console.print(table)
    folders = {entry["name"]: Path(entry["folder"]) for entry in outcome.stages}
    if "evaluate" in folders:
        show_answers(json.loads((folders["evaluate"] / "answers.json").read_text()), console)
    console.print()
    if "report" in folders and REPRODUCTION not in os.environ:
        console.print(f"Report: [bold]{REPORT}[/bold]")
        # One command a line: a command that wraps over two lines cannot be copied.
        console.print(f"Chat with it: [bold]{escape(program_call())} chat[/bold]", soft_wrap=True)
        if "rlhf" in folders:
            steps = ("label batch", "people add NAME", "label")
            commands = ", ".join(f"[bold]{escape(program_call())} {step}[/bold]" for step in steps)
            console.print(f"Let people judge its answers: {commands}", soft_wrap=True)
        console.print(f"Watch the runs: [bold]{escape(program_call())} dashboards[/bold]", soft_wrap=True)
    if outcome.pending_version:
        console.print(
            f"Version {outcome.pending_version} waits for approval: [bold]chatmill approve "
            f"{outcome.pending_version}[/bold] (--show to see it, --reject to reject it)",
            soft_wrap=True,
        )


def show_answers(answers: Sequence[dict[str, Any]], console: Console, most: int = 4) -> None:
    """Print the answers of all three models to the same prompts, with the last two turns before each."""
    table = Table(show_lines=True, expand=True)
    names = (("prompt", "prompt"), ("base", "base"), ("sft", "SFT"), ("aligned", "aligned"))
    for _, title in names:
        table.add_column(title, ratio=1, overflow="fold")
    for row in answers[:most]:
        # Escaped before the table measures its cells: escaping by the console afterwards would break its
        # lines.
        cells = [Text(escape_controls(str(row.get(key, ""))).strip()) for key, _ in names]
        for turn in reversed(row.get("history", [])[-2:]):
            said = escape_controls(f"{turn['role']}: {turn['content'].strip()}")
            cells[0] = Text(f"{said}\n", "dim") + cells[0]
        table.add_row(*cells)
    console.print()
    console.print(Panel(table, title="the same prompts, answered by all three models", box=SIMPLE))


def keep_table(event: MarkdownTable, tracker: Tracker) -> None:
    """Put a table that a stage reports on Prefect's page and into the stage's run in MLflow."""
    from httpx import HTTPError
    from prefect.artifacts import create_markdown_artifact

    # If Prefect's server is away, only its page lacks the table. MLflow has it as well, so the stage goes on.
    with suppress(HTTPError):
        create_markdown_artifact(event.markdown, key=event.title.lower().replace(" ", "-"))
    tracker.log_text(f"{event.title}.md", event.markdown)
