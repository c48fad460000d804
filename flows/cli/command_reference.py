"""Generate docs/commands.md, the page of all commands, from their help texts.

`python -m flows.cli.command_reference` rewrites the page; `make reference` does the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from flows.cli.main import app, register_commands

PAGE = Path("docs/commands.md")
_HEAD = """\
# Commands

`chatmill COMMAND --help` shows the same texts, from which `make reference` generates this page. Options of
the version before work under their old names too ([changelog](../CHANGELOG.md)).
"""


def iterate_commands() -> Iterator[tuple[str, Any]]:
    """Yield the full name and the click command of every command that runs something."""
    register_commands()
    yield from _leaves(typer.main.get_command(app), "")


def render_page() -> str:
    """Return the page: a section for each command, with a table of its arguments and options."""
    return "\n".join([_HEAD, *(_section(name, command) for name, command in iterate_commands())])


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    if getattr(command, "invoke_without_command", False):
        yield name, command
    for word, inner in command.commands.items():
        yield from _leaves(inner, f"{name} {word}".strip())


def _section(name: str, command: Any) -> str:
    parts = [f"## chatmill {name}", "\n".join(line.strip() for line in command.help.splitlines())]
    rows = [f"| {_names(each)} | {_default(each)} | {_meaning(each)} |" for each in command.params]
    if rows:
        parts.append("\n".join(["| argument or option | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    """Return the default as text; flags and empty values have none."""
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is ... or isinstance(value, bool) or value in ("", (), []) or callable(value):
        return ""
    return f"`{value}`"


def _meaning(parameter: Any) -> str:
    return " ".join((parameter.help or "").split()).replace("|", "&#124;")


def main() -> None:
    """Rewrite the page in the current folder."""
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    after = render_page()
    PAGE.write_text(after, encoding="utf-8")
    print(f"{PAGE}: {'the page was out of date' if after != before else 'the page is current'}")


if __name__ == "__main__":
    main()
