"""Differences between the parameters of a stage in two runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from tasks.data.sources.source_types import Source
from tasks.engine.cache_key import flatten_values

_OF_SOURCE = re.compile(r"(sources\.\d+)\.(.+)")


def parameter_differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the name and both values of each parameter that differs; None for one that a run lacks.

    Sources are compared by name, as one that is added in the middle moves the others. Options of a source
    with their default are left out.

    Args:
        one: The parameters of the first run, under their dotted paths, as text.
        two: Those of the second run.
    """
    first, second = _name_sources(one), _name_sources(two)
    found = [
        (name, first.get(name), second.get(name))
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    ]
    # Of equal rows the first source keeps one, so the order matters too.
    before, now = list(_source_names(one).values()), list(_source_names(two).values())
    kept, stayed = [each for each in before if each in now], [each for each in now if each in before]
    if kept != stayed:
        found.append(("sources, in order", ", ".join(kept), ", ".join(stayed)))
    return found


def _source_names(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the sources by their path, as in `sources.0`."""
    matches = ((_OF_SOURCE.fullmatch(key), value) for key, value in parameters.items())
    named = {found[1]: str(value) for found, value in matches if found and found[2] == "name"}
    return dict(sorted(named.items(), key=lambda each: int(each[0].partition(".")[2])))


def _name_sources(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with the name of a source in place of its number, without its defaults."""
    names, defaults = _source_names(parameters), _source_defaults()
    named: dict[str, Any] = {}
    for key, value in parameters.items():
        found = _OF_SOURCE.fullmatch(key)
        if not found or found[1] not in names:
            named[key] = value
        elif found[2] != "name" and value != defaults.get(found[2]):
            named[f"sources.{names[found[1]]}.{found[2]}"] = value
    return named


@cache
def _source_defaults() -> dict[str, str]:
    """Return the default of each option of a source, as runs record it."""
    return dict(_flat_defaults())


def _flat_defaults() -> Iterator[tuple[str, str]]:
    for each in fields(Source):
        if each.default is not MISSING:
            # Recorded parameters come from JSON, where a tuple is a list.
            yield from flatten_values({each.name: json.loads(json.dumps(each.default))})
