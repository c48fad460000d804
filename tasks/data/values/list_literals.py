"""Read lists of turns that a cell or a string contains as JSON, or as Python and NumPy print them.

Nothing is evaluated: tokens are read one after another, with limits of length and depth.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

LONGEST = 4 << 20  # characters of a Python literal; JSON may be as long as a row
_DEEPEST = 40  # nested brackets

_BEGINS = re.compile(
    r"""\s*(?:array\(|\()?[\[({\s]*\{\s*(['"])(?:role|from|author|content|value|text|parts|messages|conversations)\1\s*:"""
)
TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>[bBuUrR]{0,2}(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
      | (?P<name>[A-Za-z_][\w.]*)
      | (?P<mark>[\[\](){},:=])
    )""",
    re.X | re.S,
)
_ITEM = re.compile(r"(?:np|numpy)\.(?:str_|bytes_|bool_?|u?int\d+|float\d+)")
_DTYPE = re.compile(r"object|bool|u?int(?:8|16|32|64)|float(?:16|32|64)")
_NAMES: dict[str, Any] = {
    "None": None, "null": None, "nan": None, "NaN": None, "NaT": None, "True": True, "true": True,
    "False": False, "false": False, "np.True_": True, "np.False_": False,
}  # fmt: skip


def holds_turns_text(text: str) -> bool:
    """Return whether a text begins like a list of turns, or like an object with one."""
    return text.lstrip()[:1] in ("[", "{", "(", "a") and bool(_BEGINS.match(text[:400]))


def read_literal(text: str) -> Any:
    """Return the value of a text in JSON, or as Python or NumPy print it.

    Raises:
        ValueError: The text is no such value, is truncated ("..."), too long or nested too deeply.
    """
    try:
        # JSON first: it is faster, and without a limit of length.
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError:
        pass
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST >> 20} MB")
    return LiteralParser(text).read()


class LiteralParser:
    """A parser of printed Python: lists, tuples, objects, texts, numbers, None, True, False, array(…)."""

    def __init__(self, text: str) -> None:
        self.tokens = self._tokens(text)
        self.kind, self.word = "", ""
        self.next()

    @staticmethod
    def _tokens(text: str) -> Iterator[tuple[str, str]]:
        place = 0
        while found := TOKEN.match(text, place):
            place = found.end()
            yield str(found.lastgroup), str(found[str(found.lastgroup)])
        # NumPy prints long arrays with "...", which matches no token and so ends in an error.
        rest = text[place:].strip()
        yield ("end", "") if not rest else ("other", rest[:20])

    def next(self) -> None:
        self.kind, self.word = next(self.tokens, ("end", ""))

    def read(self) -> Any:
        found = self.value(0)
        if self.kind != "end":
            raise ValueError(f"{self.word!r} follows the end")
        return found

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        kind, word = self.kind, self.word
        self.next()
        if kind == "text":
            return _text(word)
        if kind == "number":
            return float(word) if set(word) & set(".eE") else int(word)
        if kind == "name":
            return self.named(word, depth)
        if word == "{":
            return self.object(depth)
        if word in ("[", "("):
            return self.listed("]" if word == "[" else ")", depth)
        raise ValueError(f"{word!r}, expected a value" if word else "it is truncated")

    def named(self, word: str, depth: int) -> Any:
        if word in _NAMES:
            return _NAMES[word]
        if word in ("array", "np.array", "numpy.array") and self.word == "(":
            self.next()
            items = self.listed(")", depth)
            return items[0] if items else []
        if word == "dtype" and self.word == "=":
            self.next()
            return self.value(depth)
        if _DTYPE.fullmatch(word):
            return None
        # NumPy 2 prints an item as np.str_('a') or np.float64(0.5).
        if _ITEM.fullmatch(word) and self.word == "(":
            self.next()
            items = self.listed(")", depth)
            return items[0] if items else None
        raise ValueError(f"{word!r}, expected a value")

    def listed(self, end: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while self.word != end or self.kind != "mark":
            if self.kind == "end":
                raise ValueError("it is truncated")
            items.append(self.value(depth + 1))
            # NumPy prints no comma between the items of an array of objects.
            if self.kind == "mark" and self.word == ",":
                self.next()
        self.next()
        return items

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.word != "}" or self.kind != "mark":
            key = self.value(depth + 1)
            if self.kind != "mark" or self.word != ":" or isinstance(key, list | dict):
                raise ValueError("a key without a value" if self.kind != "end" else "it is truncated")
            self.next()
            found[str(key)] = self.value(depth + 1)
            if self.kind == "mark" and self.word == ",":
                self.next()
        self.next()
        return found


def _text(word: str) -> str:
    # A table's cell may have a line end inside quotes, which is invalid in Python.
    word = word.replace("\r", "\\r").replace("\n", "\\n")
    try:
        # Only a single string token gets here, so nothing else can be evaluated.
        found = ast.literal_eval(word)
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{word[:20]!r} is not text") from error
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def holds_bytes(text: str) -> bool:
    """Return whether a text as a whole is bytes as Python prints them, such as `b'Hello'`."""
    bare = text.strip()
    if bare[:2] not in ("b'", 'b"') or len(bare) < 3 or bare[-1] != bare[1] or len(bare) > LONGEST:
        return False
    found = TOKEN.fullmatch(bare)
    return found is not None and found.lastgroup == "text"


def turns_of(text: str) -> Any:
    """Return the turns in a text, or its object with `messages`.

    Raises:
        ValueError: The text begins like turns and cannot be read.
    """
    return read_literal(text)


def list_items(value: Any) -> list[Any] | None:
    """Return the items of a list, also of one in a text; None for any other value."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "("):
        try:
            value = read_literal(value)
        except ValueError:
            return None
    return value if isinstance(value, list) else None


def opened_objects(value: Any) -> Any:
    """Return the objects in a text, as tables contain them; any other value unchanged."""
    bare = value.strip() if isinstance(value, str) else ""
    if bare[:1] + bare[-1:] not in ("{}", "[]") or "{" not in bare[:2]:
        return value
    try:
        found = read_literal(bare)
    except ValueError:
        return value
    objects = found if isinstance(found, list) else [found]
    return found if objects and all(isinstance(one, dict) for one in objects) else value
