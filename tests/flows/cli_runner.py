"""What a command prints, as a person has it."""

from __future__ import annotations

from collections.abc import Callable

import typer
from typer.testing import CliRunner, Result


def call(app: typer.Typer, *words: str, columns: int = 200) -> Result:
    """The command line `words`; what it raises is raised here, but for the end of the program."""
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": str(columns)})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def of(*commands: Callable[..., None]) -> typer.Typer:
    """A program of these commands."""
    app = typer.Typer()
    for command in commands:
        app.command()(command)
    return app
