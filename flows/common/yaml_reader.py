"""Reading of untrusted YAML in bounded time and memory, with one sentence for a fault."""

from __future__ import annotations

import codecs
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from model.errors import UserError, file_error
from tasks.common.merge_conflict import conflict_line
from tasks.data.records import describe_number

LARGEST_BYTES = 1 << 20
_DEEPEST = 50
# The largest 64-bit integer.
LARGEST_NUMBER = 2**63 - 1
# Nodes with every alias written out: a few lines of aliases can stand for billions.
MOST_NODES = 200_000
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


# A number that YAML 1.1 reads in base 8, as 017.
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_TAG = "tag:yaml.org,2002:"


class StrictLoader(yaml.SafeLoader):
    """A loader of plain values that refuses duplicate keys, deep nesting and endless aliases.

    YAML 1.1 reads yes, no, on and off as flags. As keys they stay the texts that the file has.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, and refuse one that is nested too deep: the composer is recursive."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.constructor.ConstructorError(
                None, None, f"nested more than {_DEEPEST} levels deep", self.peek_event().start_mark
            )
        found = super().compose_node(parent, index)
        self.depth -= 1
        return found

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Compose a scalar. A plain `=` is a text; YAML 1.1 gives it a type without any values in Python."""
        found: yaml.ScalarNode = super().compose_scalar_node(anchor)
        found.tag = f"{_TAG}str" if found.tag == f"{_TAG}value" else found.tag
        return found

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, and check its keys: one that is merged into another is never constructed."""
        found: yaml.MappingNode = super().compose_mapping_node(anchor)
        self._check_keys(found)
        return found

    def get_single_node(self) -> Any:
        """Return the document's root after counting the nodes that its aliases expand to."""
        found = super().get_single_node()
        if found is not None:
            _count_nodes(found, {})
        return found

    def _check_keys(self, node: yaml.MappingNode) -> None:
        """Refuse a key that is given twice, also as 1 and 1.0; YAML's own loader would take one of them."""
        known: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.tag == f"{_TAG}bool" and key.style is None:
                key.tag = f"{_TAG}str"
            merges = key.tag == f"{_TAG}merge"
            name = (key.value,) if merges else self.construct_object(key)
            if name in known:
                says = f"the key {_shorten_value(key.value)} is given twice, first in line {known[name]}"
                says += "; write one with a list, as in <<: [*a, *b]" if merges else ""
                raise yaml.constructor.ConstructorError(None, None, says, key.start_mark)
            known[name] = key.start_mark.line + 1

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return a value. One that Python refuses, such as 5,000 digits, is an error with its line."""
        try:
            found = super().construct_object(node, deep)
            if isinstance(found, float) and not math.isfinite(found):
                raise ValueError("expected a finite number")
            if isinstance(found, int) and abs(found) > LARGEST_NUMBER:
                raise ValueError("the number is too large")
            if isinstance(found, int | float) and ":" in str(node.value):
                # YAML 1.1 has numbers in base 60, so that a time of day or a ratio would become one.
                raise ValueError(f"YAML reads it as {found}, in base 60; write {found}, or quote the text")
            if isinstance(found, int) and _OCTAL.fullmatch(str(node.value)):
                # A reader takes 017 for 17, and other versions of YAML do so too.
                plain = int(str(node.value).replace("_", ""))
                if plain != found:
                    raise ValueError(f"YAML reads it as {found}, in base 8; write {plain} or {found}")
            return found
        except (ValueError, OverflowError) as error:
            said = (
                f"{_shorten_value(getattr(node, 'value', ''))} is not a valid value: {describe_number(error)}"
            )
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from error


def _count_nodes(node: Any, known: dict[int, int]) -> int:
    """Return the number of nodes in a node with its aliases written out."""
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.constructor.ConstructorError(None, None, "an alias contains itself", node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    if isinstance(node, yaml.MappingNode):
        total += sum(_count_nodes(key, known) + _count_nodes(value, known) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count_nodes(each, known) for each in node.value)
    if total > MOST_NODES:
        raise yaml.constructor.ConstructorError(
            None, None, f"its aliases expand to more than {MOST_NODES:,} values", node.start_mark
        )
    known[id(node)] = total
    return total


def parse_yaml(text: str, name: str) -> Any:
    """Return the value of a YAML text.

    Args:
        text: The text.
        name: Its name in messages.

    Raises:
        UserError: The text is not right; the message has the line.
    """
    with _said_errors(text, name):
        # StrictLoader is a subclass of SafeLoader, so no Python objects are constructed.
        return yaml.load(text, Loader=StrictLoader)


def compose_yaml(text: str, name: str) -> yaml.Node | None:
    """Return the root node of a YAML text, whose nodes have their places in it; None if it is empty.

    Args:
        text: The text.
        name: Its name in messages.

    Raises:
        UserError: The text is not right; the message has the line.
    """
    with _said_errors(text, name):
        found: yaml.Node | None = yaml.compose(text, Loader=StrictLoader)
        return found


@contextmanager
def _said_errors(text: str, name: str) -> Iterator[None]:
    """Raise UserError for an error of YAML, with the text's name and the line."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        if line := conflict_line(text):
            raise UserError(f"{name}, line {line}: a merge conflict; resolve it and run again") from error
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{name}{where}: not YAML ({error.problem or error.context})") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
        raise UserError(
            f"{name}, line {line}: not YAML (the character U+{code:04X} is not allowed)"
        ) from error


def read_yaml_file(path: Path) -> Any:
    """Return the value of a YAML file. Raise UserError if it cannot be read, is too large, or is not YAML."""
    return parse_yaml(read_yaml_text(path), str(path))


def read_yaml_text(path: Path) -> str:
    """Return the text of a YAML file. Raise UserError if it cannot be read or is too large."""
    try:
        kind = path.stat().st_mode
        for is_kind, word in _KINDS:
            if is_kind(kind):
                raise UserError(f"{path} is {word}; expected a YAML file such as configs/demo.yaml")
        # O_NONBLOCK: the file may have been replaced by a pipe since the check, and opening that would block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise file_error(path, "cannot be read", error) from error
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    if len(content) > LARGEST_BYTES:
        raise UserError(f"{path} is larger than {LARGEST_BYTES >> 20} MB; expected a short YAML file")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path} is in UTF-16 or UTF-32; save the file as UTF-8 and run again")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 at byte {error.start}") from error


def _shorten_value(text: Any) -> str:
    said = str(text)
    return said if len(said) <= 40 else f"{said[:39]}…"
