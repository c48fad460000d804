"""Why a stage was made or reused: what differs between two manifests of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.engine.cache_key import flat

NONE = "none"


@dataclass(frozen=True)
class Difference:
    """One thing that a key depends on: its kind, its name, and its value before and now."""

    kind: str
    name: str
    before: str
    now: str


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What differs of all that the key depends on; nothing where the keys are the same.

    Manifests of older runs lack the digests of single definitions: `code` then stands for all of them.
    """
    if before["key"] == now["key"]:
        return []
    inputs = [
        {name: each.get("read", each["digest"]) for name, each in found["inputs"].items()}
        for found in (before, now)
    ]
    return [
        *_code(before, now),
        *_between("parameter", _flat(before["parameters"]), _flat(now["parameters"])),
        *_between("input", *inputs),
        *_between("lock", {"requirements.txt": before["lock"]}, {"requirements.txt": now["lock"]}),
        *_surroundings(before, now),
    ]


def _code(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    if before["code"] == now["code"]:
        return []
    if "definitions" in before and "definitions" in now:
        return _between("code", before["definitions"], now["definitions"])
    return [Difference("code", "all definitions", before["code"], now["code"])]


def _surroundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Seed, device and what no stage made, each where the stage asks for it.

    Where neither manifest says what it asked for, a seed that differs counts; the key may not hold it.
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
        for found in _between(
            name,
            _flat({name: old[name]} if name in old else {}),
            _flat({name: new[name]} if name in new else {}),
        )
    ]


def _flat(values: Any) -> dict[str, str]:
    return dict(flat(values))


def _between(kind: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(kind, name, before.get(name, NONE), now.get(name, NONE))
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
