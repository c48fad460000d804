"""Test that every command and option is explained, in `--help` and in docs/commands.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.cli.command_reference import iterate_commands, render_page
from flows.cli.main import app
from tests.flows.cli_runner import call

ROOT = Path(__file__).parents[3]
COMMANDS = dict(iterate_commands())


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_command_and_its_options_have_help_texts(command: Any) -> None:
    assert command.help
    lacking = [parameter.opts for parameter in command.params if not (parameter.help or "").strip()]
    assert not lacking and not any(parameter.hidden for parameter in command.params)


def test_commands_page_is_current() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert render_page() == page, "run `make reference`"


@pytest.mark.parametrize(
    ("command", "option"),
    [("chat", "--prompt"), ("up", "--no-deploy"), ("quarantine show", "--released"), ("gc", "--max-size")],
)
def test_commands_page_names_options_below_their_command(command: str, option: str) -> None:
    section = render_page().split(f"\n## chatmill {command}\n")[1].split("\n## ")[0]
    assert f"`{option}`" in section


@pytest.mark.parametrize("name", ["", "label", "people", "quarantine", "data", *COMMANDS])
def test_command_short_help_option_prints_the_help(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = []
    for option in ("-h", "--help"):
        words = [*name.split(), option]
        # The start of the program looks for the option there: help needs no project.
        monkeypatch.setattr(sys, "argv", ["chatmill", *words])
        said.append(call(app, *words).output)
    assert said[0] == said[1] and "Usage: " in said[0] and "-h" in said[0]
    # Arguments are in capitals, and no type of Python is named.
    assert not re.search(r"<(bool|str|path|int|float|list)|[{][a-z_]+[}]", said[0])
