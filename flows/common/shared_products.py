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
    names = [
        path.relative_to(root).as_posix()
        for path in sorted((root / "configs").glob("*.yaml"))
        if _product_of(path) == product
    ]
    if len(names) < 2:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{', '.join(names[:_SHOWN])}{more} have the same product, {product}: their models compete for one "
        "champion. If that is not meant, give one of them another name, or another registry.model"
    )


def _product_of(path: Path) -> str:
    """Return the product of a preset's file; empty if it has none that can be read."""
    try:
        found = read_yaml_file(path)
    except UserError:
        return ""
    if not isinstance(found, Mapping):
        return ""
    registry = found.get("registry")
    named = registry.get("model") if isinstance(registry, Mapping) else ""
    return str(named or found.get("name") or "")
