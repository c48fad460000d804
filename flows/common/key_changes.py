"""Changes of single keys of a preset, as in `--set rlhf.steps=60`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from flows.common.terminal import Console
from flows.common.yaml_reader import parse_yaml
from model.errors import UserError
from tasks.common.old_keys import rename_old_keys

# The notices of old keys that this process has printed.
_told: set[tuple[str, tuple[str, ...]]] = set()


def apply_changes(values: dict[str, Any], changes: Sequence[str]) -> dict[str, str]:
    """Apply changes of single keys to a preset, and return the old keys among them with their present names.

    Raises:
        UserError: A change is not right, or two changes name one key by its old and its present name.
    """
    old: dict[str, str] = {}
    given: dict[str, str] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise UserError(f"--set {change}: expected KEY=VALUE, as in rlhf.steps=60")
        inner = parse_yaml(text, f"--set {name}")
        key, value, found = _rename_change(name, inner)
        if given.setdefault(key, name) != name:
            raise UserError(f"--set {given[key]} and --set {name} change one key, {key}; leave one out")
        old |= found
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UserError(f"--set {change}: {section} has no keys inside")
        place[last] = value
    return old


def _rename_change(name: str, value: Any) -> tuple[str, Any, dict[str, str]]:
    """Return the present name of a changed key, its value in present keys, and the old keys found."""
    inner = value
    for segment in reversed(name.split(".")):
        inner = {segment: inner}
    renamed, old = rename_old_keys(inner)
    key, found = [], renamed
    for _ in name.split("."):
        [(segment, found)] = found.items()
        key.append(segment)
    return ".".join(key), found, old


def show_old_keys(path: Path, old: Mapping[str, str], changed: Mapping[str, str]) -> None:
    """Print one notice of the old keys in a preset and in the changes. A notice is printed once a process."""
    names = {**old, **changed}
    notice = (str(path), tuple(names))
    if not names or notice in _told:
        return
    _told.add(notice)
    said = ", ".join(f"{key} is now {new}" for key, new in names.items())
    text = f"{path} has old names of keys" if old else "--set has old names of keys"
    text += f", which only this version still reads: {said}"
    if old:
        text += f"; `chatmill config migrate {path}` renames them in the file"
    Console(stderr=True, highlight=False).print(f"[dim]{escape(text)}[/dim]", soft_wrap=True)
