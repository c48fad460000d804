"""Rename the old keys in the text of a preset. Comments, order, quoting and line ends stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from flows.common.yaml_reader import compose_yaml, parse_yaml
from model.errors import UserError
from tasks.common.old_keys import OLD_KEYS, rename_old_keys

_MERGE = "tag:yaml.org,2002:merge"
# A key as written: plain or quoted, perhaps after an anchor or a tag.
_WRITTEN_KEY = re.compile(r"""((?:[&!]\S*\s+)*)(["']?)(.*?)\2""", re.DOTALL)


@dataclass(frozen=True)
class KeyChange:
    """One renamed key: its line (from 1), and its dotted name before and now."""

    line: int
    old: str
    new: str


@dataclass(frozen=True)
class _KeyUse:
    """A key node that a preset has under a dotted name. An aliased mapping is used under several names."""

    node: yaml.ScalarNode
    old: str

    @property
    def new(self) -> str:
        """The key's present dotted name; the same one for a key that is not old."""
        return OLD_KEYS.get(self.old, self.old)


def migrate_keys(text: str, name: str) -> tuple[str, list[KeyChange]]:
    """Rename the old keys in the text of a preset.

    Args:
        text: The preset's text.
        name: Its name in messages.

    Returns:
        The new text, which reads as the same preset under its present keys; and the changes by line.

    Raises:
        UserError: The text is not a preset, holds a key under both its names, or holds a key that cannot be
            renamed without changing something else, as with some aliases. The message has the line.
    """
    values = parse_yaml(text, name)
    if not isinstance(values, dict) or not isinstance(values.get("data"), dict) or "name" not in values:
        raise UserError(f"{name} is not a preset: a preset has a `name`, and `data` with its sources")
    try:
        wanted, _ = rename_old_keys(values)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    uses: dict[int, list[_KeyUse]] = {}
    for use in _find_keys(compose_yaml(text, name), ""):
        uses.setdefault(use.node.start_mark.index, []).append(use)
    migrated, changes = text, []
    # From the end, so that the places of earlier keys stay right.
    for start, found in sorted(uses.items(), reverse=True):
        if any(use.old in OLD_KEYS for use in found):
            end = found[0].node.end_mark.index
            migrated = migrated[:start] + _renamed_key(text[start:end], found, name) + migrated[end:]
            changes += [KeyChange(_line(use), use.old, use.new) for use in reversed(found)]
    # Whatever this module does not know of YAML, it never returns a text that reads as another preset.
    if parse_yaml(migrated, name) != wanted:
        lines = ", ".join(str(change.line) for change in reversed(changes))
        raise UserError(
            f"{name}: the old keys in lines {lines} cannot be renamed without changing something else: "
            "an alias repeats one of them elsewhere; write the alias out and run this again"
        )
    return migrated, sorted(set(changes), key=lambda change: (change.line, change.old))


def _find_keys(node: yaml.Node | None, path: str) -> Iterator[_KeyUse]:
    """Yield the keys of a node that lie on the way to an old key, with their dotted names."""
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _find_keys(each, path)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.tag == _MERGE:
            # The keys of a merged mapping are keys of this one.
            yield from _find_keys(value, path)
        elif isinstance(key, yaml.ScalarNode):
            use = _KeyUse(key, f"{path}{key.value}")
            yield use
            if any(old.startswith(f"{use.old}.") for old in OLD_KEYS):
                yield from _find_keys(value, f"{use.old}.")


def _renamed_key(written: str, uses: list[_KeyUse], name: str) -> str:
    """Return a key's text with its present name."""
    names = {use.new.rpartition(".")[2] for use in uses}
    if len(names) > 1:
        both = " and ".join(sorted({use.old for use in uses}))
        raise UserError(
            f"{name}, line {_line(uses[0])}: an alias makes this key both {both}, which have different names "
            "now; write the alias out and run this again"
        )
    properties, quote, _ = _WRITTEN_KEY.fullmatch(written).groups()  # type: ignore[union-attr]
    return f"{properties}{quote}{names.pop()}{quote}"


def _line(use: _KeyUse) -> int:
    return use.node.start_mark.line + 1
