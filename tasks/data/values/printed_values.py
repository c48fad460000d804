"""Recognize texts that as a whole are a printed list, a printed object or a quoted string.

Tables hold such cells where a program wrote a value in place of its text. Numbers in brackets, calls of
functions and quoted sentences are ordinary answers.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from tasks.data.values.list_literals import LONGEST, TOKEN, LiteralParser, read_literal

_ARRAY = re.compile(r"(?:np\.|numpy\.)?array\(")
_QUOTED = re.compile(r"[uUrR]?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", re.S)
# Objects whose printed form is the whole of a cell.
_PRINTED = re.compile(
    r"(?:collections\.)?(?:OrderedDict|defaultdict|Counter|deque)\s*\(|(?:datetime\.)?(?:datetime|date|timedelta)\(\d|"
    r"(?:uuid\.)?UUID\(['\"]|(?:decimal\.)?Decimal\(['\"]|(?:pd\.)?Timestamp\(['\"]|(?:frozen)?set\([\[{]|"
    r"(?:types\.)?(?:SimpleNamespace|Namespace)\(|(?:o?dict_(?:keys|values|items)|mappingproxy)\("
)
_OBJECT = re.compile(r"\s*(?:<[^<>\n]{1,300}>|\.\.\.)")
_CLOSES = {")": "(", "]": "[", "}": "{"}
# A class, as in `AIMessage(content='Hi')`. A call of a function is code.
_CLASS = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:_*[A-Z]\w*|namespace|mappingproxy)")
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_FIELD = re.compile(r"[A-Za-z_]\w*=")
# Fields of a message. Attributes of HTML and shell variables have other names.
_MESSAGE = frozenset(("content", "message", "messages", "role", "text"))
# Objects without a printed form of their own, in Python and in JavaScript.
_NAMELESS = re.compile(
    r"[\[(\s]*(?:(?:<[\w.]+ object at 0x[0-9a-fA-F]+>|\[object [A-Z]\w*\])[\s,]*)+[\])\s]*"
)
# What JSON and Python write for characters of prose.
_ESCAPE = re.compile(r"\\(?:[nrt\"']|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})")
# Values as pandas, PyTorch, PHP, Ruby, JavaScript and Python's enumerations print them.
_OTHER_PRINTS = re.compile(
    r"\d+ +.*\n(?:Name: .*, )?(?:Length: \d+, )?dtype: \w+|(?:torch\.|tf\.)?[tT]ensor\(\[.*\)|"
    r"Array\s*\(\s*\[\w+\] => .*\)|(?:a:\d+:\{.*\}|s:\d+:\".*\";?|O:\d+:\"\w+\":\d+:\{.*\})|"
    r"\[?\{\s*(?::\w+|\"[^\"\n]*\")\s*=>.*\}\]?|\[?\{\s*[A-Za-z_]\w*:\s*(['\"]).*\1\s*\}\]?|"
    r"<[A-Za-z_]\w*(?:\.\w+)+: .*>",
    re.S,
)
_BEGINS = re.compile(r"\d+ |[\[{<]|[aOs]:\d|Array|(?:torch\.|tf\.)?[tT]ensor\(")
_PART_TYPES = ("text", "input_text", "output_text")
_PART = re.compile(r"\s*[\[(]?\s*\{[^{}\[\]]{0,200}['\"]type['\"]\s*:\s*['\"](?:in|out)?(?:put_)?text['\"]")


def holds_literal(text: str) -> bool:
    """Return whether a text as a whole is an object, or a list or tuple with a text or an object in it.

    It may be in JSON, or as Python or NumPy print it. Numbers in brackets may be an answer.
    """
    bare = text.strip()
    if len(bare) > LONGEST or not (bare[:1] + bare[-1:] in ("[]", "{}", "()") or _is_array(bare)):
        return False
    if "'" not in bare and '"' not in bare:
        # An object whose keys are numbers has no quotes.
        return bare[:1] == "{" and bool(_value_of(bare))
    if bare[0] == "(" and "," not in _QUOTED.sub("", bare):
        # Brackets around a quoted text make no tuple.
        return False
    found = _value_of(bare)
    return bool(found) if isinstance(found, dict) else isinstance(found, list) and _has_text(found)


def _is_array(bare: str) -> bool:
    return bare[-1:] == ")" and _ARRAY.match(bare) is not None


def _value_of(bare: str) -> Any:
    try:
        return read_literal(bare)
    except ValueError:
        return None


def _has_text(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_text, value))
    return isinstance(value, str | dict)


def holds_objects(text: str) -> bool:
    """Return whether a text as a whole is printed Python with objects that no reader here can restore.

    Examples are `{'at': datetime.date(2024, 1, 2)}`, `OrderedDict([('a', 1)])`, the set `{'a', 'b'}`,
    `AIMessage(content='Hi')`, and `[object Object]` of JavaScript.
    """
    bare = text.strip()
    if len(bare) > LONGEST:
        return False
    if bare[:1] in ("<", "[", "(") and bare[-1:] in (">", "]", ")") and _NAMELESS.fullmatch(bare[:2000]):
        return True
    if _FIELD.match(bare):
        return _are_fields(bare)
    if bare[-1:] not in (")", "]", "}"):
        return False
    begins = re.match(r"[\[({]+\s*['\"]", bare) if bare[0] in "[({" else None
    inner = bare.lstrip("[({ ")
    if (begins is not None or _PRINTED.match(inner)) and _value_of(bare) is None and _is_printed(bare):
        return True
    return bool(_CALL.match(inner)) and _is_record(bare)


def holds_other_print(text: str) -> bool:
    """Return whether a text as a whole is a value as another program prints it, as `{"a"=>"Hi"}` of Ruby."""
    bare = text.strip()
    # Few texts begin so, and only then is the whole of it examined.
    return len(bare) <= LONGEST and bool(_BEGINS.match(bare) and _OTHER_PRINTS.fullmatch(bare))


def _is_printed(text: str) -> bool:
    """Return whether a text consists of the tokens of printed Python, with an object or as a set."""
    place, before, named, open_marks, marks = 0, "", False, [], set()
    while found := TOKEN.match(text, place) or _OBJECT.match(text, place):
        kind, word = found.lastgroup or "object", found[0].strip()
        named = named or kind == "object" or (word == "(" and before == "name")
        # Two texts or names in a row are prose, and NumPy's items have no comma.
        if kind in ("text", "name") and before in ("text", "name"):
            return False
        if word in ("[", "(", "{"):
            open_marks.append(word)
        elif word in _CLOSES and (not open_marks or open_marks.pop() != _CLOSES[word]):
            return False
        marks |= {word} if kind == "mark" else set()
        place, before = found.end(), kind
    whole = not text[place:].strip() and not open_marks
    return whole and (named or (text[0] == "{" and ":" not in marks))


class _RecordParser(LiteralParser):
    """A parser of printed Python that also reads `Name(field=value, ...)`, as classes print themselves."""

    def __init__(self, text: str) -> None:
        self.records = 0
        super().__init__(text)

    @staticmethod
    def _tokens(text: str) -> Iterator[tuple[str, str]]:
        place = 0
        while found := TOKEN.match(text, place) or _OBJECT.match(text, place):
            place = found.end()
            yield found.lastgroup or "object", str(found[found.lastgroup or 0])
        yield ("end", "") if not text[place:].strip() else ("other", text[place : place + 20])

    def value(self, depth: int) -> Any:
        if self.kind == "object":
            self.next()
            return None
        return super().value(depth)

    def named(self, word: str, depth: int) -> Any:
        if self.word != "(" or not (_CLASS.fullmatch(word) or (depth and "." in word)):
            return super().named(word, depth)
        self.next()
        # Only inside a record, arguments without names are values, as of datetime.date(2024, 1, 2).
        if depth and not (self.kind == "name" and word[:1].isupper()):
            return self.listed(")", depth)
        self.records += 1
        return self.fields(")", depth)

    def fields(self, end: str, depth: int) -> dict[str, Any]:
        """Return the values of `name=value` up to a mark, or up to the end of the text."""
        found: dict[str, Any] = {}
        while self.kind != "end" and self.word != end:
            name = self.word
            if self.kind != "name":
                raise ValueError(f"{name!r}, expected a field")
            self.next()
            if self.word != "=":
                raise ValueError(f"{name!r}, expected a value")
            self.next()
            found[name] = self.value(depth + 1)
            if end and self.kind == "mark" and self.word == ",":
                self.next()
        if end and self.word != end:
            raise ValueError("it is truncated")
        self.next()
        return found


def _is_record(bare: str) -> bool:
    """Return whether a text is a printed object with a text in a field, or a list of such objects."""
    try:
        parser = _RecordParser(bare)
        found = parser.read()
    except ValueError:
        return False
    return parser.records > 0 and _holds_text(found)


def _holds_text(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, str) or any(map(_holds_text, inner))


def _are_fields(bare: str) -> bool:
    """Return whether a text is a printed message without its class, as `content='Hi' id=None`."""
    try:
        found = _RecordParser(bare).fields("", 1)
    except ValueError:
        return False
    return len(found) > 1 and not _MESSAGE.isdisjoint(found)


def holds_quoted(text: str) -> bool:
    """Return whether a text as a whole is a quoted string with escapes, as JSON or Python writes a text.

    A sentence in quotes has no escapes.
    """
    bare = text.strip()
    if bare[:1] not in ("'", '"', "u", "U") or bare[-1:] not in ("'", '"') or len(bare) > LONGEST:
        return False
    prefixed = bare[0] in "uU"
    if not prefixed and not _ESCAPE.search(bare):
        return False
    if _QUOTED.fullmatch(bare) is None or "\n" in bare:
        return False
    try:
        json.loads(bare) if bare[0] == '"' else ast.literal_eval(bare)
    except (ValueError, SyntaxError, MemoryError):
        return False
    return True


def text_of_parts(value: Any) -> str | None:
    """Return the text of content parts, as of `[{"type": "text", "text": "Hi"}]`; None for anything else.

    The parts may be written as text. Other keys of a part must be empty, as nothing would read them.
    """
    if isinstance(value, str):
        if not _PART.match(value[:400]) or value.rstrip()[-1:] not in ("]", "}", ")"):
            return None
        value = _value_of(value.strip())
    parts = [value] if isinstance(value, dict) else value
    if not isinstance(parts, list) or not parts or not all(map(_is_text_part, parts)):
        return None
    return "".join(part["text"] for part in parts)


def _is_text_part(part: Any) -> bool:
    if not isinstance(part, dict) or part.get("type") not in _PART_TYPES:
        return False
    others = (held for key, held in part.items() if key not in ("type", "text"))
    return isinstance(part.get("text"), str) and not any(others)
