"""The reasons why a stage was made or reused: the differences between two of its manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.common.old_keys import rename_stage_parameters
from tasks.engine.cache_key import flatten_values


@dataclass(frozen=True)
class InputDifference:
    """One component of a cache key that differs: its kind, its name, and its value before and now.

    The value is None if a manifest lacks the component.
    """

    kind: str
    name: str
    before: str | None
    now: str | None


def explain_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[InputDifference]:
    """Return all components of the cache key that differ between two manifests; empty if the keys are equal.

    Manifests of older runs lack the digests of single definitions; `code` then covers all of them.
    """
    if before["key"] == now["key"]:
        return []
    inputs = [
        # Manifests of older runs have only the digest of the whole input.
        {name: each.get("read", each["digest"]) for name, each in found["inputs"].items()}
        for found in (before, now)
    ]
    return [
        *_code_differences(before, now),
        *_value_differences("parameter", _flat_parameters(before), _flat_parameters(now)),
        *_value_differences("input", *inputs),
        *_value_differences("lock", {"requirements.txt": before["lock"]}, {"requirements.txt": now["lock"]}),
        *_context_differences(before, now),
    ]


def _code_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[InputDifference]:
    if before["code"] == now["code"]:
        return []
    if "definitions" in before and "definitions" in now:
        old, new = before["definitions"], now["definitions"]
        # If most modules are gone, they were renamed. A list of all definitions would explain nothing.
        modules, kept = _module_names(old), _module_names(old) & _module_names(new)
        if 2 * len(kept) >= len(modules):
            return _value_differences("code", old, new)
        return [
            InputDifference("code", "all definitions (modules were renamed)", before["code"], now["code"])
        ]
    return [InputDifference("code", "all definitions", before["code"], now["code"])]


def _module_names(definitions: Mapping[str, str]) -> set[str]:
    return {name.rpartition(".")[0] for name in definitions} - {"tasks", "model"}


def _context_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[InputDifference]:
    """Return differences of seed, device and outside inputs, if the stage asks for them.

    If neither manifest records what the stage asked for, a different seed is reported although the key may
    not contain it.
    """
    if "surroundings" in before and "surroundings" in now:
        old, new = before["surroundings"], now["surroundings"]
    else:
        said = before.get("surroundings") or now.get("surroundings")
        asked = [name for name in ("seed", "device") if said is None or name in said]
        old, new = ({name: found[name] for name in asked} for found in (before, now))
    return [
        found
        for name in sorted({*old, *new})
        for found in _value_differences(
            name,
            _flat_values({name: old[name]} if name in old else {}),
            _flat_values({name: new[name]} if name in new else {}),
        )
    ]


def _flat_parameters(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return a stage's parameters by dotted name. Old manifests have old names, which are no difference."""
    return rename_stage_parameters(str(manifest.get("stage", "")), _flat_values(manifest["parameters"]))


def _flat_values(values: Any) -> dict[str, str]:
    return dict(flatten_values(values))


def _value_differences(kind: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[InputDifference]:
    return [
        InputDifference(kind, name, before.get(name), now.get(name))
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
