"""Parse JSON one value at a time: a line each, the members of an array, or consecutive objects."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn

from model.errors import UserError
from tasks.data.file_io.decoding import BLOCK, LONGEST
from tasks.data.records import json_fault

# The greatest length of a number, a literal or an escape that the end of a block may cut.
_TORN = 16
_SPACE = re.compile(r"[ \t\r\n]*")
# A text, a bracket, or the quote of a text that the end of a block cuts.
_TOKEN = re.compile(r'"(?:[^"\\]+|\\.)*"|[][{}"]', re.DOTALL)
_WORD = re.compile(r"[-+.\w]*")


class _UnreadableValueError(Exception):
    """A value that Python cannot hold, though its end is known. The message says why."""


class _Decoder(json.JSONDecoder):
    """A JSON decoder that detects duplicate keys and numbers that are not finite, as properties of a value.

    Python's `json` accepts NaN and Infinity, which no other program may read, and reads 1e400 as infinity.
    Such a number is noted instead of raised, so that the decoder can go on after the value.
    """

    def __init__(self) -> None:
        super().__init__(
            parse_constant=self._constant, parse_float=self._float, object_pairs_hook=self._object
        )
        self.repeated = self.number = ""

    def _constant(self, name: str) -> None:
        self.number = self.number or f"{name} is not valid JSON; expected null where a value is missing"

    def _float(self, text: str) -> float | None:
        found = float(text)
        if math.isfinite(found):
            return found
        self.number = self.number or f"{text[:40]} is too large for a number; expected one below 1.8e308"
        return None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        # `json` silently keeps the last of equal keys, so an answer might be lost.
        if len(found) != len(pairs) and not self.repeated:
            names = [name for name, _ in pairs]
            self.repeated = next(name for name in names if names.count(name) > 1)
        return found

    def taken(self) -> str:
        """Return what is wrong with the last value, in a few words, and reset; empty if nothing is."""
        repeated, number = self.repeated, self.number
        self.repeated = self.number = ""
        if number:
            return f"broken JSON ({number})"
        return f"the key {repeated[:40]!r} is given twice" if repeated else ""


_DECODER = _Decoder()


def read_json(text: str, where: str) -> Any:
    """Return the JSON value of a text. Raise UserError with `where` if it is invalid."""
    _DECODER.taken()
    try:
        found = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: broken JSON ({json_problem(error)})") from error
    if _DECODER.number:
        raise UserError(f"{where}: {_DECODER.taken()}")
    return found


def read_object(text: str, where: str) -> dict[str, Any]:
    """Return the JSON object of a line. Raise UserError with `where` if it is none."""
    _DECODER.taken()
    try:
        found = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        if text.rstrip().endswith(",") and text.rstrip(", \t\r\n").endswith("}"):
            raise UserError(
                f"{where}: a comma follows the object; remove it, as each line is one object"
            ) from error
        raise UserError(f"{where}: broken JSON ({json_problem(error)}); each line is one object") from error
    if said := _DECODER.taken():
        raise UserError(f"{where}: {said}")
    if not isinstance(found, dict):
        raise UserError(f"{where}: {_no_object(text)}")
    return found


def has_more_keys(value: Any, most: int) -> bool:
    """Return whether an object has more than `most` keys, those of nested objects included.

    The items of a list share their keys, as the rows of a table share its columns.
    """
    # Most objects have few keys in total. Distinct ones are counted only for the others, as that is slower.
    total, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            total += len(each)
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    if total <= most:
        return False
    # A place has a number, and each key below it the number of its own place.
    places: dict[tuple[int, str], int] = {}
    found: list[tuple[int, Any]] = [(0, value)]
    while found:
        place, each = found.pop()
        if isinstance(each, list):
            found += [(place, item) for item in each]
        elif isinstance(each, dict):
            for name, held in each.items():
                found.append((places.setdefault((place, name), len(places) + 1), held))
            if len(places) > most:
                return True
    return False


def _no_object(text: str) -> str:
    """Return what a row is that is no object, by its beginning, and what is expected."""
    begins = text.lstrip()[:1]
    if begins == "[":
        return 'a list, expected an object; if it is a conversation, write {"messages": [...]}'
    if begins == '"':
        return 'a text, expected an object, as in {"text": "..."}'
    kinds = {"t": "true", "f": "false", "n": "null", "": "the end of the file"}
    number = begins.isdigit() or begins == "-"
    return f"{'a number' if number else kinds.get(begins, repr(begins))}, expected an object"


def json_problem(error: Exception) -> str:
    """Return what is wrong with a JSON text, in a few words."""
    return json_fault(error)


def read_objects(file: BinaryIO, origin: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield the objects of a JSON array, or consecutive objects, each with its place.

    The third part is the reason if an item is no object, nests too deeply or has a number of too many digits;
    else it is empty. Memory holds at most one item and a block. Raises UserError with file and line for
    invalid JSON, or for an item of more than 64 MB.
    """
    text = _Text(file, origin)
    if text.next() != "[":
        while text.next():
            yield text.object(0)
        return
    text.place += 1
    number, goes_on = 1, text.next() != "]"
    while goes_on:
        yield text.object(number)
        if (follows := text.next()) not in (",", "]"):
            text.fail("expected a comma or the end of the array after an item")
        number, goes_on = number + 1, follows == ","
        text.place += goes_on
    text.place += 1
    if text.next():
        text.fail("there is text after the end of the array")


class _Text:
    """The text of a stream from `place` on. The text before is dropped when the next block is read."""

    def __init__(self, file: BinaryIO, origin: str) -> None:
        self.file, self.origin = file, origin
        self.text, self.place, self.line = "", 0, 1
        self.counted = 0  # `line` counts the line ends up to here
        self.read = 0
        self.decode = codecs.getincrementaldecoder("utf-8")()
        self.ended = False

    def more(self, size: int) -> bool:
        """Read about `size` more bytes. Return false at the end of the file."""
        if self.ended:
            return False
        self.count_lines()
        block = self.file.read(size)
        self.read += len(block)
        self.ended = not block
        try:
            found = self.decode.decode(block, self.ended)
        except UnicodeDecodeError as error:
            offset = self.read - len(error.object) + error.start
            raise UserError(f"{self.origin}: not UTF-8 at byte {offset}; save it as UTF-8") from error
        self.text = self.text[self.place :] + found
        self.place = self.counted = 0
        return True

    def count_lines(self) -> None:
        self.line += self.text.count("\n", self.counted, self.place)
        self.counted = self.place

    def next(self) -> str:
        """Return the next character that is no white space; empty at the end."""
        while True:
            self.place = _SPACE.match(self.text, self.place).end()  # type: ignore[union-attr]
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more(BLOCK):
                return ""

    def object(self, number: int) -> tuple[dict[str, Any], str, str]:
        """Return the next object and its place, with its number if it is an item of an array."""
        begins = self.next()
        where = f"{self.where()}, item {number}" if number else self.where()
        if begins == "{":
            _DECODER.taken()
            try:
                found = self.value()
            except _UnreadableValueError as error:
                return {}, where, f"{where}: broken JSON ({error})"
            said = _DECODER.taken()
            return found, where, f"{where}: {said}" if said else ""
        fault = f"{where}: {_no_object(begins)}"
        # Outside an array, or without a value, there is no place to continue from.
        if not number or begins in ("", ",", "]"):
            raise UserError(fault)
        # The value is not read, so it does not matter whether Python can hold it.
        with suppress(_UnreadableValueError):
            self.value()
        _DECODER.taken()
        return {}, where, fault

    def value(self) -> Any:
        """Return the value that begins at `place`, and set `place` to its end.

        Raises:
            _UnreadableValueError: It nests too deeply, or has a number of too many digits.
            UserError: It is invalid, or has more than 64 MB.
        """
        while True:
            try:
                found, self.place = _DECODER.raw_decode(self.text, self.place)
                return found
            except json.JSONDecodeError as error:
                rest = self.text[error.pos :].rstrip()
                # The decoder cannot resume. An error near the end of the text, or in an open string, may only
                # be the block's end.
                torn = error.msg.startswith("Unterminated") or len(rest) <= _TORN
                if torn and len(self.text) - self.place > LONGEST:
                    self.fail(f"longer than {LONGEST >> 20} MB")
                # The text doubles each time, so a long value is parsed a logarithmic number of times.
                if not torn or not self.more(max(BLOCK, len(self.text) - self.place)):
                    self.place = error.pos
                    self.fail(error.msg)
            except (ValueError, RecursionError) as error:
                reason = json_problem(error)
                self.skip(reason)
                raise _UnreadableValueError(reason) from error

    def skip(self, reason: str) -> None:
        """Set `place` to the end of the value there, by its brackets alone.

        Raises:
            UserError: The value has no end, for which `reason` is given, or more than 64 MB.
        """
        # From `place` on, as the text before is dropped when more is read.
        passed = depth = 0
        while True:
            if depth == 0 and self.text[self.place] not in "[{":
                passed = _WORD.match(self.text, self.place).end() - self.place  # type: ignore[union-attr]
                if self.place + passed < len(self.text):
                    self.place += passed
                    return
            for token in _TOKEN.finditer(self.text, self.place + passed):
                if token[0] == '"':
                    break
                passed = token.end() - self.place
                depth += (token[0] in "[{") - (token[0] in "]}")
                if depth == 0:
                    self.place += passed
                    return
            if len(self.text) - self.place > LONGEST:
                self.fail(f"longer than {LONGEST >> 20} MB")
            if not self.more(max(BLOCK, len(self.text) - self.place)):
                self.fail(reason)

    def where(self) -> str:
        self.count_lines()
        return f"{self.origin}, line {self.line}"

    def fail(self, reason: str) -> NoReturn:
        raise UserError(f"{self.where()}: broken JSON ({reason})")
