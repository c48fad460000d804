"""Outputs that hold withdrawn rows; they are removed whatever was made from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tasks.cleanup.output_gc import OUTPUT, CachedOutput
from tasks.data.records import LABEL_KINDS, TYPES, list_shards, naming_row
from tasks.data.withdrawals import Withdrawn
from tasks.engine.catalog import read_declaration


def outputs_with_withdrawn(
    entries: Sequence[CachedOutput], withdrawn: Withdrawn
) -> dict[tuple[str, str], str]:
    """Return the outputs that hold withdrawn rows, by stage and key, with a description.

    Single rows cannot be found in labels and tokens, so those outputs count if their split holds withdrawn
    rows.
    """
    outputs = [entry for entry in entries if entry.kind == OUTPUT]
    declared = {entry.stage: read_declaration(entry.stage, None) for entry in outputs}
    kinds = {
        (entry.stage, entry.key): found
        for entry in outputs
        if (found := _held_kinds(entry.paths[0], declared[entry.stage].row_folders, withdrawn))
    }
    for entry in outputs:
        split, _ = entry.inputs.get("split", ("", ""))
        derived = set(declared[entry.stage].derived_rows)
        # Labels and tokens keep no ids, so all outputs of such a split count.
        if derived & kinds.get(("split", split), set()):
            kinds[entry.stage, entry.key] = derived
    return {
        place: f"holds {' and '.join(kind for kind in TYPES if kind in found)} that were withdrawn"
        for place, found in kinds.items()
    }


def _held_kinds(folder: Path, parts: Sequence[str], withdrawn: Withdrawn) -> set[str]:
    """Return the kinds of withdrawn rows in a folder."""
    # Annotators only occur in labels, so the texts, which are much larger, need not be read.
    kinds = TYPES if withdrawn.ids else LABEL_KINDS
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
