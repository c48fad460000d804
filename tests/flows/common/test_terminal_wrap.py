"""Wrapped lines: on a terminal between words alone, elsewhere not at all."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from flows.common.terminal import Console
from flows.servers.environment import checkout_environment
from tests.flows.prefect_project import REPOSITORY

SENTENCE = (
    "the model of version 12 differs from the registered one, so it cannot be compared with the new model"
)
PATH = "/srv/projects/teams/translations/2026/november/of-many-people/answers.jsonl"
COMMAND = "`chatmill label import answers.jsonl --name november --config configs/team.yaml`"
YAML = "{name: mine, files: 'texts and more/*.jsonl', format: rows, columns: {prompt: q, completion: a}}"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(text: str, width: int = 80, file: io.StringIO | None = None, **options: Any) -> list[str]:
    console = Console(file=file or _Terminal(), width=width, highlight=False, color_system=None)
    console.print(text, **options)
    return console.file.getvalue().removesuffix("\n").split("\n")  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("soft_wrap", [True, False])
def test_console_print_terminal_breaks_between_words(width: int, soft_wrap: bool) -> None:
    lines = lines_of(SENTENCE, width, soft_wrap=soft_wrap)
    assert " ".join(lines) == SENTENCE
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("whole", [PATH, COMMAND, YAML], ids=["path", "command", "yaml"])
def test_console_print_what_can_be_copied_stays_on_one_line(whole: str) -> None:
    lines = lines_of(f"{SENTENCE}: {whole} {SENTENCE}".replace("[", r"\["), 40)
    assert any(whole in line for line in lines)
    assert " ".join(lines) == f"{SENTENCE}: {whole} {SENTENCE}"


def test_console_print_styles_and_indentation_stay_in_wrapped_lines() -> None:
    file = _Terminal()
    console = Console(file=file, width=30, highlight=False, force_terminal=True, color_system="standard")
    console.print(f"  [red]error:[/red] [bold]{SENTENCE}[/bold]", style="dim")
    written = file.getvalue()
    assert "\x1b[2;31merror:\x1b[0m" in written and written.count("\x1b[1;2m") == written.count("\n")
    lines = lines_of(f"  {SENTENCE}\nnext", 30)
    assert all(line.startswith("  ") and len(line) <= 30 for line in lines[:-1]) and lines[-1] == "next"


def test_console_print_wide_characters_count_as_two_cells() -> None:
    lines = lines_of("日本語の回答 " * 12, 40)
    assert all(cell_len(line) <= 40 for line in lines) and len(lines) > 3


@pytest.mark.parametrize("soft_wrap", [True, False, None])
def test_console_print_pipe_keeps_a_line(soft_wrap: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert lines_of(f"{SENTENCE}: {PATH}", 40, io.StringIO(), soft_wrap=soft_wrap) == [f"{SENTENCE}: {PATH}"]


def test_run_error_in_a_terminal_is_wrapped_and_in_a_pipe_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", "--config", f"configs/{'n' * 60}.yaml"]
    environment = {**checkout_environment(REPOSITORY), "COLUMNS": "80"}
    piped = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    main, other = pty.openpty()
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=other, stderr=other)
    os.close(other)
    read = b""
    while piece := _read(main):
        read += piece
    os.close(main)
    process.wait()
    lines = [line.rstrip("\r") for line in read.decode().rstrip().split("\n")]
    assert piped.stderr.count("\n") == 1 and piped.stderr.startswith("error: ")
    assert len(lines) > 1 and all("n" * 60 in line or len(line) <= 80 + 10 for line in lines)
    assert f"configs/{'n' * 60}.yaml" in "".join(lines)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    # Linux reports the end of a pseudo-terminal so.
    except OSError:
        return b""
