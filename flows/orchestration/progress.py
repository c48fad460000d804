"""Terminal output while a flow runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from flows.common.terminal import Console, escape_controls, terminal_text, wrap_words
from model.events import Event, MarkdownTable, Message, Step
from tasks.common.counts import counted
from tasks.common.stage_status import status_of
from tasks.engine.catalog import read_declaration
from tasks.engine.output import StageOutput

if TYPE_CHECKING:
    from tasks.tracking.tracker import Tracker

QUARTERS = 4
# Without a terminal, the longest time between two lines.
LINE_SECONDS = 15.0
LIVE = ("loss", "reward", "kl")
# Below this width a text is not wrapped by words: the columns before it leave it too little.
WRAP_FROM = 24
LEARNED_NOTHING = "LEARNED NOTHING, the weights from before it were kept"


def key_figures(stage: str, metrics: dict[str, Any]) -> str:
    """Return a stage's result in the words that it declares; empty for a stage without any."""
    headline = read_declaration(stage, None).headline
    text = headline(metrics) if headline else ""
    if not metrics.get("learned_nothing"):
        return text
    return f"{LEARNED_NOTHING}: {text}" if text else LEARNED_NOTHING


def short_figures(stage: str, metrics: dict[str, Any]) -> str:
    """Return a stage's result while the run goes on: a long one stands in the table at the end alone."""
    short = read_declaration(stage, None).short_headline
    return short(metrics) if short else key_figures(stage, metrics)


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

    def _wrap(self, text: str, indent: int) -> str:
        """Return a text in lines of whole words that begin at the column `indent`; one line in a log."""
        width = self.console.width - indent
        if not self.console.is_terminal or width < WRAP_FROM:
            return text
        return f"\n{' ' * indent}".join(wrap_words(text, width))

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
        lines = self._wrap(escape_controls(text), 12)
        self._print_line(f"  [dim]{self.stage:<9} {escape(lines)}[/dim]")
        self.log(f"{self.stage}: {text}" if self.stage else text)

    def finish_stage(self, reference: StageOutput, took: float) -> None:
        """Show that a stage has ended: whether it was computed or cached, its seconds and its result."""
        if self.bar is not None:
            self.progress.remove_task(self.bar)
        how = "[cyan]cached[/cyan]  " if reference.reused else "[green]computed[/green]"
        figures = key_figures(reference.stage, reference.metrics)
        shown = self._wrap(escape_controls(short_figures(reference.stage, reference.metrics)), 33)
        line = f"[bold]{reference.stage:<10}[/bold] {how} {format_duration(took):>11}  {escape(shown)}"
        # No line of its progress comes after its last line.
        self.at_work = False
        self._print_line(line)
        self.log(f"{reference.stage}: {status_of(reference.reused)}, {format_duration(took)}, {figures}")


def keep_table(event: MarkdownTable, tracker: Tracker) -> None:
    """Put a table that a stage reports on Prefect's page and into the stage's run in MLflow."""
    from httpx import HTTPError
    from prefect.artifacts import create_markdown_artifact

    # If Prefect's server is away, only its page lacks the table. MLflow has it as well, so the stage goes on.
    with suppress(HTTPError):
        create_markdown_artifact(event.markdown, key=event.title.lower().replace(" ", "-"))
    tracker.log_text(f"{event.title}.md", event.markdown)
