"""Rename the old keys in the text of a preset. Comments, order, quoting and line ends stay as they are.

A comment line of the form `# key: value` is a setting that is commented out. Its key is renamed too; all
other comments stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml

from flows.common.yaml_reader import compose_yaml, parse_yaml
from model.errors import UserError
from tasks.common.old_keys import OLD_KEYS, rename_old_keys

_MERGE = "tag:yaml.org,2002:merge"
# A key as written: plain or quoted, perhaps after an anchor or a tag.
_WRITTEN_KEY = re.compile(r"""((?:[&!]\S*\s+)*)(["']?)(.*?)\2""", re.DOTALL)
# A line and its end, by YAML's line breaks.
_LINE = re.compile("([^\r\n\x85\u2028\u2029]*)(?:\r\n|[\r\n\x85\u2028\u2029]|$)")
_COMMENTED = re.compile(r"""[ \t]*(#)#*[ \t]*(?:- )?(["']?\w+["']?[ \t]*:(?:[ \t].*)?)""")


@dataclass(frozen=True)
class KeyChange:
    """One renamed key: its line (from 1), its dotted name before and now, and whether it is commented out."""

    line: int
    old: str
    new: str
    commented: bool = False


@dataclass(frozen=True)
class _KeyUse:
    """A key node that a preset has under a dotted name. An aliased mapping is used under several names."""

    node: yaml.ScalarNode
    old: str

    @property
    def new(self) -> str:
        """The key's present dotted name. A key that is not old keeps its name."""
        return OLD_KEYS.get(self.old, self.old)


def migrate_keys(text: str, name: str) -> tuple[str, list[KeyChange]]:
    """Rename the old keys in the text of a preset.

    Args:
        text: The preset's text.
        name: Its name in messages.

    Returns:
        The new text, which reads as the same preset under its present keys; and the changes by line.

    Raises:
        UserError: The text is not a preset, or holds a key under both its names. Or a key cannot be renamed
            without changing something else, as with some aliases; the message then has the line.
    """
    values = parse_yaml(text, name)
    if not isinstance(values, dict) or not isinstance(values.get("data"), dict) or "name" not in values:
        raise UserError(f"{name} is not a preset: a preset has a `name`, and `data` with its sources")
    try:
        wanted, _ = rename_old_keys(values)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    root = compose_yaml(text, name)
    uses: dict[int, list[_KeyUse]] = {}
    for use in _find_keys(root, ""):
        uses.setdefault(use.node.start_mark.index, []).append(use)
    edits, changes = [], []
    for start, found in uses.items():
        if any(use.old in OLD_KEYS for use in found):
            end = found[0].node.end_mark.index
            edits.append((start, end, _renamed_key(text[start:end], found, name)))
            changes += [KeyChange(_line(use), use.old, use.new) for use in found]
    more, commented = _rename_commented_keys(text, root, name)
    migrated = _apply_edits(text, [*edits, *more])
    # Whatever this module does not know of YAML, it never returns a text that reads as another preset.
    if parse_yaml(migrated, name) != wanted:
        migrated, commented = _apply_edits(text, edits), []
    if parse_yaml(migrated, name) != wanted:
        lines = ", ".join(str(change.line) for change in sorted(changes, key=lambda change: change.line))
        raise UserError(
            f"{name}: the old keys in lines {lines} cannot be renamed without changing something else: "
            "an alias repeats one of them elsewhere; write the alias out and run this again"
        )
    return migrated, sorted({*changes, *commented}, key=lambda change: (change.line, change.old))


def _apply_edits(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Return the text with the parts from `start` to `end` replaced."""
    # From the end, so that the places of earlier edits stay right.
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _rename_commented_keys(
    text: str, root: yaml.Node | None, name: str
) -> tuple[list[tuple[int, int, str]], list[KeyChange]]:
    """Return the edits and the changes of old keys in settings that are commented out.

    The section of such a setting follows from its column and the keys above it. These may be commented out
    in the same block of comments.
    """
    keys, inside = _block_keys(root), _scalar_lines(text)
    sections: list[tuple[int, str]] = []
    headings: list[tuple[int, str]] = []
    edits, changes = [], []
    for line, found in enumerate(_LINE.finditer(text)):
        for column, path in keys.get(line, ()):
            sections = [*(each for each in sections if each[0] < column), (column, path)]
        written = _COMMENTED.fullmatch(found[1]) if line not in inside else None
        if not found[1].lstrip(" \t").startswith("#"):
            headings = []
        if written is None or (setting := _parse_setting(written[2])) is None:
            continue
        # Editors put `#` at the column of the key, or before its indentation.
        place = written.start(2)
        for column in (place - 2, place - 1, place, written.start(1)):
            parent = _parent_path(headings, column) or _parent_path(sections, column)
            old = [use for use in _find_keys(setting, parent) if use.old in OLD_KEYS]
            heading = f"{parent}{setting.value[0][0].value}"
            if any(key.startswith(f"{heading}.") for key in OLD_KEYS):
                headings = [*(each for each in headings if each[0] < column), (column, heading)]
            elif not old:
                continue
            for use in old:
                start = found.start() + place + use.node.start_mark.index
                end = found.start() + place + use.node.end_mark.index
                edits.append((start, end, _renamed_key(text[start:end], [use], name)))
                changes.append(KeyChange(line + 1, use.old, use.new, commented=True))
            break
    return edits, changes


def _parent_path(sections: list[tuple[int, str]], column: int) -> str:
    """Return the dotted path, with a dot at its end, of the section that a key in a column is in."""
    return next((f"{path}." for before, path in reversed(sections) if before < column), "")


def _parse_setting(written: str) -> yaml.MappingNode | None:
    """Return a mapping of one key and value; None for prose, whose value has several words."""
    try:
        node = compose_yaml(written, "")
    except UserError:
        return None
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        return None
    (key, value), *_ = node.value
    is_prose = isinstance(value, yaml.ScalarNode) and value.style is None and " " in value.value
    return None if is_prose or not isinstance(key, yaml.ScalarNode) else node


def _block_keys(root: yaml.Node | None) -> dict[int, list[tuple[int, str]]]:
    """Return, by line, the columns and dotted names of the keys that are not within braces."""
    found: dict[int, list[tuple[int, str]]] = {}
    known: set[int] = set()
    waiting = [(root, "")]
    while waiting:
        node, path = waiting.pop()
        if node is None or id(node) in known:
            continue
        # An aliased node counts where it is written out.
        known.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += [(each, path) for each in reversed(node.value)]
        elif isinstance(node, yaml.MappingNode) and not node.flow_style:
            for key, value in reversed(node.value):
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    place = (key.start_mark.column, f"{path}{key.value}")
                    found.setdefault(key.start_mark.line, []).append(place)
                    waiting.append((value, f"{path}{key.value}."))
    return {line: sorted(places) for line, places in found.items()}


def _scalar_lines(text: str) -> set[int]:
    """Return the lines that continue a text of several lines, in which `#` begins no comment."""
    found: set[int] = set()
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.ScalarToken):
            last = token.end_mark.line + (1 if token.end_mark.column else 0)
            found.update(range(token.start_mark.line + 1, last))
    return found


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
