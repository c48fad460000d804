"""Say how many rows there are, in the same words wherever a source or a version of the data is described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.common.counts import counted
from tasks.data.records import TYPES


def describe_rows(readable: Mapping[str, int], unreadable: int) -> str:
    """Return how many rows there are.

    Args:
        readable: The number of rows that could be read, by kind.
        unreadable: The number of rows that could not.
    """
    held = [counted(readable[kind], kind) for kind in TYPES if readable.get(kind)]
    held += [counted(unreadable, "rows that cannot be read")] if unreadable else []
    return ", ".join(held) or "no rows"


def rows_headline(metrics: Mapping[str, Any]) -> str:
    """Return how many rows the metrics of ingestion count. Those that cannot be read are counted apart."""
    unreadable = {kind: int(metrics.get(f"unreadable_{kind}", 0)) for kind in TYPES}
    readable = {kind: int(metrics.get(kind, 0)) - unreadable[kind] for kind in TYPES}
    return describe_rows(readable, sum(unreadable.values()))
