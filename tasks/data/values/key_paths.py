"""Find the keys of a row by their paths, such as `votes.anna` for the key `anna` of the object `votes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import UserError


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


def _all_ways(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, ...]]:
    """Yield all keys that lead to a path, as the key `votes.dan`, and the key `dan` of the object `votes`."""
    if path in values:
        yield (path,)
    at = path.find(".")
    while at >= 0:
        held = values.get(path[:at])
        if isinstance(held, Mapping):
            yield from ((path[:at], *inner) for inner in _all_ways(held, path[at + 1 :]))
        at = path.find(".", at + 1)


def check_paths(values: Mapping[str, Any], fields: Mapping[str, Any], where: str) -> None:
    """Raise UserError if a path that `fields` names leads to two values of a row that differ."""
    for path, meaning in fields.items():
        if "." not in path or "[]" in path or meaning in ("ignore", "text"):
            continue
        found = [value_at(values, keys) for keys in _all_ways(values, path)]
        other = next((value for value in found[1:] if value != found[0]), None)
        if other is not None:
            raise UserError(
                f"{where}: {path} is {found[0]!r:.40} and also {other!r:.40}, as a key with "
                "a dot and an object both hold it; keep one of them"
            )


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
