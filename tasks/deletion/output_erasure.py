"""Outputs that hold rows which were withdrawn: these go whatever else was made from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tasks.cleanup.output_gc import OUTPUT, CachedOutput
from tasks.data.records import TYPES, list_shards, naming_row
from tasks.data.withdrawals import LABELS, Withdrawn

# The folders of each stage that have a folder a kind in them.
_ROWS = {"ingest": ("rows",), "validate": ("rows", "quarantine"), "split": ("train", "valid", "test")}
# What holds such rows in another form, by the kinds that its split must have had.
MADE_OF = {"labels": LABELS, "tokenizer": ("text", "pairs")}


def outputs_with_withdrawn(
    entries: Sequence[CachedOutput], withdrawn: Withdrawn
) -> dict[tuple[str, str], str]:
    """Stage and key of the outputs that hold rows which were withdrawn, each with what it holds, in words.

    Of those whose rows cannot be told apart any more (labels, tokens), what was made of such a split.
    """
    outputs = [entry for entry in entries if entry.kind == OUTPUT]
    kinds = {
        (entry.stage, entry.key): found
        for entry in outputs
        if entry.stage in _ROWS and (found := _held_kinds(entry.paths[0], _ROWS[entry.stage], withdrawn))
    }
    for entry in outputs:
        split, _ = entry.inputs.get("split", ("", ""))
        if entry.stage in MADE_OF and set(MADE_OF[entry.stage]) & kinds.get(("split", split), set()):
            kinds[entry.stage, entry.key] = set(MADE_OF[entry.stage])
    return {
        place: f"holds {' and '.join(kind for kind in TYPES if kind in found)} that were withdrawn"
        for place, found in kinds.items()
    }


def _held_kinds(folder: Path, parts: Sequence[str], withdrawn: Withdrawn) -> set[str]:
    """The kinds of withdrawn rows that stand there."""
    kinds = TYPES if withdrawn.ids else LABELS
    return {
        kind
        for kind in kinds
        if any(
            _has_withdrawn(path, kind, withdrawn)
            for part in parts
            for path in list_shards(folder / part / kind)
        )
    }


def _has_withdrawn(path: Path, kind: str, withdrawn: Withdrawn) -> bool:
    with naming_row(path, os.path.relpath(path)), path.open("rb") as lines:
        return any(withdrawn.matches_line(kind, line) for line in lines)
