"""`chatmill config`: rename the old keys of a preset."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.common.terminal import Console
from model.errors import UserError
from tasks.common.counts import counted

config = typer.Typer(help="Presets: rename the keys of an older version.", no_args_is_help=True)


@config.callback()
def presets() -> None:
    """Presets: rename the keys of an older version."""


@config.command()
def migrate(
    file: Annotated[Path, typer.Argument(help="The preset: a YAML file.", metavar="FILE")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the changes as a diff; write nothing.")
    ] = False,
) -> None:
    """Rename the old keys of a preset in its file, and print each change.

    Settings that are commented out, as in `# batch: 4`, are renamed too. Other comments, order and quoting
    stay. Old keys are read for one more version; this command makes a preset ready for the next one.
    `docs/configuration.md` lists the keys.
    """
    from flows.cli.key_migration import migrate_keys
    from flows.common.yaml_reader import read_yaml_text
    from tasks.project.preset_file import remove_leftover_parts, replace_preset

    console = Console(highlight=False)
    if not os.path.lexists(file):
        raise UserError(
            f"{file} does not exist; name a preset, as in `chatmill config migrate configs/demo.yaml`"
        )
    text = read_yaml_text(file)
    migrated, changes = migrate_keys(text, str(file))
    if not changes:
        console.print(f"{escape(str(file))} has no old keys; there is nothing to do", soft_wrap=True)
        return
    if dry_run:
        before, after = text.splitlines(), migrated.splitlines()
        for line in difflib.unified_diff(before, after, str(file), str(file), lineterm=""):
            # A line of a file stays as it is.
            console.out(line, highlight=False)
        return
    # Behind a symbolic link, so that the link stays one.
    place = file.resolve()
    if not os.access(place, os.W_OK):
        raise UserError(f"{file} is read-only; make it writable and run this again")
    new = migrated.encode("utf-8")
    remove_leftover_parts(place.parent, lambda name, content: name == place.name and new.startswith(content))
    replace_preset(place, migrated)
    for change in changes:
        note = " (commented out)" if change.commented else ""
        console.print(f"line {change.line}: {change.old} is now {change.new}{note}", soft_wrap=True)
    console.print(f"{escape(str(file))}: {counted(len(changes), 'keys')} renamed", soft_wrap=True)
