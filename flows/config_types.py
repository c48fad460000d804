"""Type checks for a preset's keys: unknown keys and values of another type are refused by name.

pydantic alone would turn `true` into the number 1, and the text "yes" into `true`. It ignores unknown keys of
plain dataclasses.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from model.errors import UserError
from tasks.common import url_secrets
from tasks.common.old_keys import OLD_KEYS

# Keys that a reader may expect, and that are several keys here.
_SEVERAL_KEYS = {
    "gate.judge": "`evaluate.judge` says what compares the models, and `promote: {approval: people}` lets "
    "people decide",
}
# The number of characters of a user's key or value that a message repeats.
_LONGEST = 80
# No key needs larger numbers. One that does not fit an array or a clock would end in a traceback.
LARGEST_INTEGER, LARGEST_FLOAT = 10**12, 1e15
UNBOUNDED = ("seed",)
_RIGHT: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list",
    dict: "a mapping of keys to values",
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
# Lone surrogates, which UTF-8 cannot hold, and NUL, which no file name or database takes.
UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


def check_values(values: Any, kind: Any) -> None:
    """Compare a preset's plain values with the types of its fields.

    Args:
        values: The values as YAML gave them.
        kind: The model class whose fields give the types.

    Raises:
        UserError: A key is not known, or a value is of another type; the sentence names the key.
    """
    _refuse_unknown(values, kind, (), kind)
    _refuse_other_kinds(values, kind, ())


def said_value(value: Any) -> str:
    """Return a value as a message repeats it: short, without secrets, and as YAML writes it."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple | set):
        return "a list"
    # Cut first: the search for secrets takes long in a very long text.
    said = url_secrets.hide_secrets(
        repr(value[: 4 * _LONGEST]) if isinstance(value, str | bytes) else str(value)
    )
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"


def _refuse_other_kinds(value: Any, kind: Any, where: tuple[str, ...]) -> None:
    known = _keys(kind)
    if known is not None:
        if not isinstance(value, Mapping):
            if not isinstance(value, BaseModel) and not is_dataclass(value):
                raise UserError(_sentence(where, value, _RIGHT[dict]))
            return
        for key, inner in value.items():
            _refuse_other_kinds(inner, known[key], (*where, str(key)))
        return
    if get_origin(kind) in (Union, UnionType):
        _refuse_each(value, get_args(kind), where)
        return
    origin = get_origin(kind) or kind
    if origin is Any or origin is Literal:
        return
    if not _is_a(value, origin):
        raise UserError(_sentence(where, value, _RIGHT[origin]))
    if origin is tuple:
        for index, each in enumerate(value):
            _refuse_other_kinds(each, get_args(kind)[0], (*where, str(index)))
            if each == "":
                raise UserError(f"{'.'.join(where)} has an empty text in it; leave it out")
    elif origin is dict:
        for key, each in value.items():
            if not isinstance(key, str):
                said = said_value(key)
                quoted = f', as in "{said}"' if isinstance(key, int | float) else ""
                raise UserError(f"{'.'.join(where)} has the key {said}; expected a text{quoted}")
            _refuse_unwritable(key, where)
            _refuse_other_kinds(each, get_args(kind)[1], (*where, _short_key(key)))
    elif origin in (int, float):
        _refuse_endless(value, origin, where)
    elif origin is str:
        _refuse_unwritable(value, where)


def _refuse_each(value: Any, kinds: tuple[Any, ...], where: tuple[str, ...]) -> None:
    """Check a value of a union type against the first member that fits it."""
    right = []
    for kind in kinds:
        origin = get_origin(kind) or kind
        if origin is NoneType:
            if value is None:
                return
            continue
        if _is_a(value, origin):
            _refuse_other_kinds(value, kind, where)
            return
        right.append(_RIGHT[origin])
    raise UserError(_sentence(where, value, " or ".join(right)))


def _is_a(value: Any, kind: Any) -> bool:
    if kind is tuple:
        return isinstance(value, list | tuple)
    if kind is dict:
        return isinstance(value, Mapping)
    # pydantic accepts numbers in quotes, and so must this check.
    if kind is int and isinstance(value, str):
        return _WHOLE.fullmatch(value) is not None
    if kind is int:
        return not isinstance(value, bool) and (number := _number(value)) is not None and number.is_integer()
    if kind is float:
        return not isinstance(value, bool) and _number(value) is not None
    return isinstance(value, kind)


def _number(value: Any) -> float | None:
    """Return the number that a value is or, as a text, spells: YAML 1.1 reads 1e-4 as a text."""
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def _refuse_endless(value: Any, kind: Any, where: tuple[str, ...]) -> None:
    number = float(value)
    if not math.isfinite(number):
        raise UserError(f"{'.'.join(where)} is {number}; expected a finite number")
    largest = LARGEST_INTEGER if kind is int else LARGEST_FLOAT
    if abs(number) > largest and where[-1] not in UNBOUNDED:
        bound = f"at most {largest:.0f}" if number > 0 else f"at least -{largest:.0f}"
        raise UserError(f"{'.'.join(where)} is {value}; it must be {bound}")


def _refuse_unwritable(text: str, where: tuple[str, ...]) -> None:
    if found := UNWRITABLE.search(text):
        raise UserError(f"{'.'.join(where)} holds the character U+{ord(found[0]):04X}; leave it out")


def _sentence(where: tuple[str, ...], value: Any, right: str) -> str:
    return (
        f"{'.'.join(where) or 'the preset'} is {said_value(value)}; expected {right}{_advice(value, right)}"
    )


def _advice(value: Any, right: str) -> str:
    """Return what to write in place of a value that YAML 1.1 reads otherwise than a person; else empty."""
    if "a text" in right and isinstance(value, bool):
        return "; YAML reads yes, no, on and off as true or false, so put a text in quotes"
    if "a text" in right and isinstance(value, int | float | date):
        return f'; put a text in quotes, as in "{value}"'
    number = _number(value) if isinstance(value, str) and "whole number" in right else None
    if number is None or not number.is_integer() or abs(number) > LARGEST_INTEGER:
        return ""
    return f"; {value} is a text in YAML, so write {number:.0f}"


def _short_key(key: Any) -> str:
    return str(key) if len(str(key)) <= _LONGEST else f"{str(key)[:_LONGEST]}…"


def _refuse_unknown(values: Any, kind: Any, where: tuple[str, ...], whole: Any) -> None:
    """Refuse unknown keys, section by section. `whole` is the preset's type, for hints to other sections."""
    known = _keys(kind)
    if known is None or not isinstance(values, Mapping):
        return
    for key, value in values.items():
        name = _short_key(key)
        path = ".".join([*where, name])
        if key not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            here = [".".join([*where, found]) for found in near]
            meant = [*_elsewhere(name, whole), *here] if not where else [*here, *_elsewhere(name, whole)]
            hint = f"did you mean {meant[0]}?" if meant else f"expected one of {', '.join(known)}"
            raise UserError(f"{path}: unknown key; {_SEVERAL_KEYS.get(path, hint)}")
        for inner in _inside(known[key]):
            items = value if isinstance(value, list) else [value]
            if (
                known[key] is not inner
                and isinstance(value, Mapping)
                and _keys(inner)
                and _is_map(known[key])
            ):
                items = list(value.values())
            for item in items:
                _refuse_unknown(item, inner, (*where, str(key)), whole)


def _keys(kind: Any) -> dict[str, Any] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        # The fields' own types are strings, as annotations are postponed in every module.
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in fields(kind)}
    return None


def _inside(kind: Any) -> list[Any]:
    return [kind] if _keys(kind) is not None else [part for part in get_args(kind) if _keys(part) is not None]


def _is_map(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is dict


def _elsewhere(key: str, whole: Any) -> list[str]:
    """Return the path of the same key in another section, perhaps an old key; empty if there is none."""
    sections = _keys(whole) or {}
    present = [f"{name}.{key}" for name, kind in sections.items() if key in (_keys(kind) or {})]
    return [*present, *(new for old, new in OLD_KEYS.items() if old.partition(".")[2] == key)][:1]
