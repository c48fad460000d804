"""Items of a batch from a JSONL file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from model.errors import UserError, error_reason
from tasks.common.counts import counted
from tasks.labelling.batches import KNOWN_CHOICES, LabelItem, Reason, check_item

ROLE_NAMES = ("system", "user", "assistant")
_TEXTS = ("prompt", "a", "b")
_OPTIONAL = ("a_model", "b_model", "known_choice")
_KEYS = (*_TEXTS, "history", *_OPTIONAL)
_EXAMPLE = '{"prompt": "…", "a": "…", "b": "…"}'
_NO_JSON = "not a line of JSON"
# Faults that one message names, and lines that it names for each.
_SHOWN_FAULTS = 5
_SHOWN_CHARACTERS = 40
# Faults after which the rest of the file is not read: it is another kind of file.
_MOST_FAULTS = 1000
# A longer line is no item that people could read. A device such as /dev/zero has one that never ends.
_LONGEST_LINE = 16_000_000


def read_items(path: Path) -> list[LabelItem]:
    """Return the items of a file with one JSON object a line.

    Each has `prompt`, `a` and `b`, and may have `history` (turns with `role` and `content`), `a_model`,
    `b_model` and `known_choice` (a, b or tie), which makes it a known item.

    Raises:
        UserError: The file cannot be read, or lines are not valid; the message names the first ones.
    """
    found: list[LabelItem] = []
    # What is wrong with the lines of each fault. All that is not JSON is one fault.
    faults: dict[str, dict[int, str]] = {}
    first, broken = b"", 0
    for number, line in _lines(path):
        first = first or line
        where = f"{path}:{number}"
        try:
            item = _read_item(line, where)
            check_item(item, where)
            found.append(item)
        except UserError as error:
            said = str(error).removeprefix(f"{where}: ")
            faults.setdefault(_NO_JSON if said.startswith(_NO_JSON) else said, {})[number] = said
            broken += 1
            if broken == _MOST_FAULTS:
                break
    if faults:
        if broken > 1 and not found and list(faults) == [_NO_JSON]:
            lines = f"{'first ' if broken == _MOST_FAULTS else ''}{broken:,} lines"
            raise UserError(
                f"{path}: none of its {lines} is JSON; it begins with {_begin(first)}; expected lines such "
                f"as {_EXAMPLE}"
            )
        raise UserError("\n".join(_describe_faults(path, faults, broken)))
    if not found:
        raise UserError(f"{path} has no item; expected lines such as {_EXAMPLE}")
    return found


def _begin(line: bytes) -> str:
    """Return the first characters of a line, as a quoted text."""
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")


def _describe_faults(path: Path, faults: Mapping[str, Mapping[int, str]], broken: int) -> Iterator[str]:
    """Yield a sentence for each of the first faults, with its lines."""
    shown = list(faults.items())[:_SHOWN_FAULTS]
    for said, lines in shown:
        number, alone = next(iter(lines.items()))
        if len(lines) == 1:
            yield f"{path}:{number}: {alone}"
            continue
        named = ", ".join(map(str, list(lines)[:_SHOWN_FAULTS]))
        more = f" and {len(lines) - _SHOWN_FAULTS:,} more" if len(lines) > _SHOWN_FAULTS else ""
        expected = f"; expected {_EXAMPLE}" if said == _NO_JSON else ""
        yield f"{path}, lines {named}{more}: {said}{expected}"
    if left := broken - sum(len(lines) for _, lines in shown):
        yield f"and {counted(left, 'lines')} more"
    if broken == _MOST_FAULTS:
        yield "the rest of the file was not read"


def read_known_items(path: Path) -> list[LabelItem]:
    """Return the items of a file as `read_items` does. Raise UserError if one has no known_choice."""
    found = read_items(path)
    for number, item in enumerate(found, 1):
        if not item.known_choice:
            raise UserError(
                f"{path}: item {number} has no known_choice; expected one of {', '.join(KNOWN_CHOICES)}"
            )
    return found


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, each with its number."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), 1):
                if len(line) > _LONGEST_LINE:
                    raise UserError(
                        f"{path}:{number}: the line has more than {_LONGEST_LINE:,} bytes; "
                        f"expected {_EXAMPLE}"
                    )
                # A byte order mark is how some editors begin a file.
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield number, text
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error_reason(error)}") from None


def _read_item(line: bytes, where: str) -> LabelItem:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {_NO_JSON} ({error}); expected {_EXAMPLE}") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: not a JSON object; expected {_EXAMPLE}")
    if unknown := sorted(set(row) - set(_KEYS)):
        raise UserError(f"{where}: unknown key {unknown[0]!a}; the keys are {', '.join(_KEYS)}")
    texts = {name: _read_text(row, name, where) for name in (*_TEXTS, *_OPTIONAL)}
    reason: Reason = "known" if texts["known_choice"] else "given"
    return LabelItem(**texts, history=tuple(_read_history(row.get("history"), where)), reason=reason)


def _read_text(row: dict[str, Any], name: str, where: str) -> str:
    value = row.get(name, "" if name in _OPTIONAL else None)
    if value is None and name in _OPTIONAL:
        return ""
    if value is None:
        raise UserError(f"{where}: {name} is missing; expected {_EXAMPLE}")
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: {name} contains half of a character (a lone surrogate)") from None
    return value


def _read_history(turns: Any, where: str) -> Iterator[dict[str, str]]:
    if turns is None:
        return
    if not isinstance(turns, list):
        raise UserError(f'{where}: history is not a list of turns such as {{"role": "user", "content": "…"}}')
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            raise UserError(f"{where}: turn {number} of history does not have the keys role and content")
        if turn["role"] not in ROLE_NAMES:
            raise UserError(
                f"{where}: the role of turn {number} is {turn['role']!a}; "
                f"expected one of {', '.join(ROLE_NAMES)}"
            )
        yield {"role": turn["role"], "content": _read_text(turn, "content", f"{where}: turn {number}")}
