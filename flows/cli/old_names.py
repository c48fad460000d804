"""Names of commands and options before version 0.2; they work for one version, with one notice each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from typer.core import TyperGroup

from flows.common.terminal import Console
from model.errors import UserError
from tasks.project.paths import REPORT

OLD_COMMANDS = {"why": "explain", "clean": "gc", "quarantine admit": "quarantine release"}
_SIGNED = {"--by": "--author", "--why": "--reason"}
_REASON = {"--why": "--reason", "-w": "--reason"}
# Options by the present name of their command.
OLD_OPTIONS = {
    "approve": _REASON,
    "chat": {"--new-tokens": "--max-new-tokens"},
    "data log": {"--most": "--limit"},
    "gc": {"--keep-under": "--max-size"},
    "lineage": {"--data": "--row"},
    "quarantine release": {**_SIGNED, "--fixed": "--replacement"},
    "quarantine show": {"--most": "--limit", "--admitted": "--released"},
    "reproduce": {"--keep": "--keep-worktree"},
    "rollback": {**_REASON, "--even-so": "--force"},
    "withdraw": {**_REASON, **_SIGNED, "--rows": "--ids-file"},
}


# Words that people try as a command, and what they find instead.
_NO_COMMANDS = {
    "report": f"each run writes its report to {REPORT}; open that file in a browser",
    "train": "`chatmill run` trains, and does what comes before and after",
}
# They replace or remove something of the user's, so a word that is merely similar must not lead to them.
_RISKY = frozenset(("down", "gc", "restore", "rollback", "withdraw"))
_SURELY_MEANT = 0.85
# Code in Markdown that `keep_backticks` has not changed yet.
_CODE = re.compile(r"(?<!`)(?<!`` )`([^`]+)`(?!`)")


def keep_backticks(command: Any) -> None:
    """Let the help of a command, and of those below it, show the backticks around what is typed.

    Markdown shows code in another colour. Without colours, "`up` includes it" would read "up includes it".
    """
    for described in (command, *command.params):
        if getattr(described, "help", None):
            described.help = _CODE.sub(r"`` `\1` ``", described.help)
    for each in getattr(command, "commands", {}).values():
        keep_backticks(each)


# What a value is, for people who do not know Python: typer shows `<int range>` and `<list[str]>`.
_VALUES = {"bool": "", "Path": "PATH", "int": "NUMBER", "float": "NUMBER", "str": "TEXT"}


def name_values(command: Any) -> None:
    """Let the help of a command, and of those below it, name arguments and values in plain words."""
    for param in command.params:
        if param.param_type_name == "argument":
            param.metavar = param.metavar or param.name.upper()
            # The name says what it is.
            param.display_type_rich = lambda ctx: ""
        elif param.metavar is None and not param.type_descriptor.is_choice:
            kind = param.bare_type().removeprefix("list[").removesuffix("]")
            param.metavar = _VALUES.get(kind, "VALUE")
    if "get_help_option" not in vars(command):
        command.get_help_option = partial(_help_option, command.get_help_option)
    for each in getattr(command, "commands", {}).values():
        name_values(each)


def _help_option(find: Callable[[Any], Any], ctx: Any) -> Any:
    """Return a command's option `--help`, which exists once the command has a context."""
    option = find(ctx)
    if option is not None:
        option.metavar = ""
    return option


class OldNamesGroup(TyperGroup):
    """The root command: replaces old names in the command line before it is parsed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first argument names. Raise UserError for one that there is not."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UserError(_explain_unknown_command(args[0], list(self.commands)))
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments that follow `chatmill`."""
        keep_backticks(self)
        name_values(self)
        return super().parse_args(ctx, self._replace_old_names(ctx, args))

    def _replace_old_names(self, ctx: Any, arguments: Sequence[str]) -> list[str]:
        words, command = 0, ""
        found: Any = self
        # The root has no options with a value, so the first words name the command.
        while words < len(arguments) and hasattr(found, "commands") and not arguments[words].startswith("-"):
            spoken = f"{command} {arguments[words]}".strip()
            command = OLD_COMMANDS.get(spoken, spoken)
            _note_old_name(spoken, command)
            found = found.get_command(ctx, command.rpartition(" ")[2])
            words += 1
        if found is None or not command:
            # Click names the unknown command itself.
            return list(arguments)
        return [*command.split(), *_replace_options(found, OLD_OPTIONS.get(command, {}), arguments[words:])]


def _explain_unknown_command(name: str, commands: Sequence[str]) -> str:
    """Return that there is no such command, with what to type instead."""
    if name in _NO_COMMANDS:
        return f"there is no command {name!r}: {_NO_COMMANDS[name]}"
    similar = difflib.get_close_matches(name, commands)
    # Two letters in the wrong order, or one too few, are still meant.
    meant = [one for one in similar if one not in _RISKY or _similarity(name, one) >= _SURELY_MEANT]
    hint = f"did you mean {' or '.join(meant)}?" if meant else "`chatmill --help` lists the commands"
    return f"there is no command {name!r}; {hint}"


def _similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _replace_options(command: Any, old: dict[str, str], arguments: Sequence[str]) -> list[str]:
    """Return the arguments with present option names. Values are kept, also those that look like options."""
    with_value = {
        name for option in command.params if not getattr(option, "is_flag", True) for name in option.opts
    }
    replaced: list[str] = []
    value_follows = False
    for number, argument in enumerate(arguments):
        if value_follows:
            replaced.append(argument)
            value_follows = False
            continue
        if argument == "--":
            return [*replaced, *arguments[number:]]
        spoken, equals, value = argument.partition("=")
        name = old.get(spoken, spoken)
        _note_old_name(spoken, name)
        replaced.append(f"{name}{equals}{value}")
        value_follows = name in with_value and not equals
    return replaced


def _note_old_name(old: str, new: str) -> None:
    if old != new:
        # Standard error: the output of the command may go to a file or a program.
        Console(stderr=True, highlight=False).print(
            f"[dim]{old} is now {new}; the old name works until the next version[/dim]", soft_wrap=True
        )
