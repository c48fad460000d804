"""Presets of one project that have the same product, so that their models compete for one champion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.common.yaml_reader import read_yaml_file
from model.errors import UserError

_SHOWN = 4


def describe_shared_product(root: Path, product: str) -> str:
    """Return a sentence if several presets in configs/ have a product; empty if at most one has it.

    A preset that cannot be read has no product here; a run with it says what is wrong.
    """
    names = [path.relative_to(root).as_posix() for path, _ in _presets_of(root, product)]
    if len(names) < 2:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{', '.join(names[:_SHOWN])}{more} have the same product, {product}: their models compete for one "
        "champion. If that is not meant, give one of them another name, or another registry.model"
    )


def product_presets(root: Path, product: str) -> tuple[str, ...]:
    """Return the names of the presets in configs/ that have a product, each once."""
    return tuple(sorted({name for _, name in _presets_of(root, product)}))


def _presets_of(root: Path, product: str) -> list[tuple[Path, str]]:
    """Return the file and the name of each preset in configs/ that has a product."""
    named = [(path, *_name_and_product(path)) for path in sorted((root / "configs").glob("*.yaml"))]
    return [(path, name) for path, name, own in named if own == product]


def _name_and_product(path: Path) -> tuple[str, str]:
    """Return the name and the product of a preset's file; both are empty if they cannot be read."""
    try:
        found = read_yaml_file(path)
    except UserError:
        return "", ""
    if not isinstance(found, Mapping):
        return "", ""
    registry = found.get("registry")
    named = registry.get("model") if isinstance(registry, Mapping) else ""
    name = str(found.get("name") or "")
    return name, str(named or name)
