"""Terminal output when a flow has ended: the stages in a table, some answers, and the next commands."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.common.terminal import Console, escape_controls, wrap_words
from flows.orchestration.progress import WRAP_FROM, format_duration, key_figures
from tasks.common.counts import counted
from tasks.common.program_call import REPRODUCTION, program_call
from tasks.common.stage_status import CACHED
from tasks.project.paths import REPORT

_EMPTY_ANSWER = "(empty answer)"
_PROMPTS = 3
_LINES = 2
_GAP = 2  # characters between two columns
_NAMES = (("prompt", "prompt"), ("base", "base"), ("sft", "SFT"), ("aligned", "aligned"))


def show_outcome(outcome: Any, console: Console | None = None) -> None:
    """Print the stages in a table, some answers of the models, and the next commands."""
    console = console or Console(highlight=False)
    console.print()
    console.print(f"total time: {format_duration(outcome.seconds)}")
    console.print(_stages_table(outcome.stages, console.width))
    folders = {entry["name"]: Path(entry["folder"]) for entry in outcome.stages}
    if "evaluate" in folders:
        answers = json.loads((folders["evaluate"] / "answers.json").read_text())
        show_answers(answers, console, rest=f"in {REPORT}")
    console.print()
    if "report" in folders and REPRODUCTION not in os.environ:
        console.print(f"Report: [bold]{REPORT}[/bold]")
        # One command a line: a command that wraps over two lines cannot be copied.
        print_command(console, "Chat with it", "chat")
        if "rlhf" in folders:
            print_command(console, "Let people judge its answers", "label batch", "people add NAME", "label")
        print_command(console, "Watch the runs", "dashboards")
    if outcome.pending_version:
        console.print(
            f"Version {outcome.pending_version} waits for approval: [bold]chatmill approve "
            f"{outcome.pending_version}[/bold] (--show to see it, --reject to reject it)",
            soft_wrap=True,
        )


def print_command(console: Console, purpose: str, *commands: str) -> None:
    """Print what commands of this program do: one beside its purpose, several below it, one a line."""
    calls = [f"[bold]{escape(program_call())} {command}[/bold]" for command in commands]
    text = f"{purpose}: {calls[0]}" if len(calls) == 1 else "\n  ".join((f"{purpose}:", *calls))
    console.print(text, soft_wrap=True)


def _stages_table(stages: Sequence[dict[str, Any]], width: int) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "", "seconds", "figure"):
        table.add_column(column, justify="right" if column == "seconds" else "left", no_wrap=True)
    seconds = [f"{entry['seconds']:.1f}" for entry in stages]
    before = [max((len(text) for text in texts), default=0) + _GAP for texts in (
        ["stage", *(entry["name"] for entry in stages)], [entry["status"] for entry in stages],
        ["seconds", *seconds],
    )]  # fmt: skip
    room = max(width - sum(before), WRAP_FROM)
    for entry, took in zip(stages, seconds, strict=True):
        colour = "cyan" if entry["status"] == CACHED else "green"
        figures = wrap_words(escape_controls(key_figures(entry["name"], entry["metrics"])), room)
        warned = "yellow" if entry["metrics"].get("learned_nothing") else ""
        shown = Text("\n".join(figures), warned, overflow="fold")
        table.add_row(entry["name"], Text(entry["status"], colour), took, shown)
    return table


def show_answers(
    answers: Sequence[dict[str, Any]], console: Console, lines: int = _LINES, rest: str = ""
) -> None:
    """Print the answers of all three models to a few prompts, with the last two turns before each.

    Args:
        answers: Rows with a prompt, the turns before it and the models' answers.
        console: The console.
        lines: The most lines of each text; a text that is cut ends in an ellipsis.
        rest: Where the prompts are that are not shown; empty if nobody needs to know.
    """
    if not answers:
        return
    console.print()
    console.print("the same prompts, answered by all three models:")
    for row in answers[:_PROMPTS]:
        console.print()
        for turn in row.get("history", [])[-2:]:
            _print_answer(console, str(turn["role"]), str(turn["content"]), lines, "dim")
        for key, title in _NAMES:
            if key in row:
                said, style = str(row[key]), "bold" if key == "prompt" else ""
                if key != "prompt" and not said.strip():
                    # A blank would look like a fault of this output.
                    said, style = _EMPTY_ANSWER, "dim"
                _print_answer(console, title, said, lines, style)
    if rest and len(answers) > _PROMPTS:
        console.print()
        console.print(f"{counted(len(answers) - _PROMPTS, 'more prompts')} {rest}")


def _print_answer(console: Console, title: str, content: str, most: int, style: str) -> None:
    """Print a text beside its title, cut to the most lines."""
    # Escaped before it is measured, and before spaces are joined: a form feed counts as a space.
    said = " ".join(escape_controls(content.strip(" \t\n")).split())
    indent = len("assistant") + _GAP  # the longest title
    width = max(console.width - indent, WRAP_FROM)
    # A word that is wider than the line is cut here: answers have such words, and nobody copies them.
    found = [piece for line in wrap_words(said, width) for piece in Text(line).wrap(console, width)]
    if len(found) > most:
        found[most - 1].truncate(width - 1)
        found[most - 1].append("…")
    shown = Text("\n" + " " * indent).join(found[:most])
    shown.stylize(style)
    console.print(Text.assemble((f"{title:<{indent}}", "dim"), shown), soft_wrap=True)
