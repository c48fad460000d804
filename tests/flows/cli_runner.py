"""Run commands and return what they print."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner, Result


def call(app: typer.Typer, *words: str, columns: int = 200) -> Result:
    """Run the command line `words`, and raise its errors except SystemExit."""
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": str(columns)})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def of(*commands: Callable[..., None]) -> typer.Typer:
    """Return a program with these commands."""
    app = typer.Typer()
    for command in commands:
        app.command()(command)
    return app


def print_as_in_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands print as in a terminal without colours."""
    for name, value in (("FORCE_COLOR", "1"), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
