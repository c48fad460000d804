"""Commands that refuse typed text that is not valid UTF-8, before they do anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand

from model.errors import UserError
from tasks.common.printable_text import is_utf8


class Utf8Command(TyperCommand):
    """A command whose texts are valid UTF-8. Paths may have any bytes, as file names may."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments. Raise UserError for a text that no record could hold."""
        rest = super().parse_args(ctx, args)
        for param in self.params:
            if "FILE" in (getattr(param, "metavar", None) or ""):
                # A path whose last slash has a meaning is a text, as Path drops the slash.
                continue
            for text in _texts_of(ctx.params.get(param.name)):
                if not is_utf8(text):
                    shown = os.fsencode(text).decode("utf-8", "backslashreplace")
                    raise UserError(
                        f"{max(param.opts, key=len)} is '{shown}', which is not valid UTF-8; type it in UTF-8"
                    )
        return rest


def refuse_other_encodings(app: typer.Typer) -> None:
    """Make all commands of a program, and those of its groups, refuse text that is not valid UTF-8."""
    for command in app.registered_commands:
        command.cls = Utf8Command
    for group in app.registered_groups:
        if group.typer_instance:
            refuse_other_encodings(group.typer_instance)


def _texts_of(value: Any) -> Iterator[str]:
    """Yield the texts of a parameter's value. A Path is none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        for each in value:
            yield from _texts_of(each)
