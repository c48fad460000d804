"""Find the keys of a row by their paths, such as `votes.anna` for the key `anna` of the object `votes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def find_keys(values: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
    """Return the keys that lead to a path, the outermost first; None if the row lacks it.

    A key may have dots of its own, as `a.meyer`. Of several ways the one with the longest inner key counts.
    """
    if path in values:
        return (path,)
    at = path.find(".")
    while at >= 0:
        held = values.get(path[:at])
        if isinstance(held, Mapping) and (inner := find_keys(held, path[at + 1 :])):
            return (path[:at], *inner)
        at = path.find(".", at + 1)
    return None


def value_at(values: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return the value under the keys of `find_keys`."""
    held: Any = values
    for key in keys:
        held = held[key]
    return held


def with_value(values: Mapping[str, Any], keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a copy of a row with another value under the keys of `find_keys`."""
    first, *inner = keys
    return {**values, first: with_value(values[first], tuple(inner), value) if inner else value}
