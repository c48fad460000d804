"""Outputs that hold rows which were withdrawn: these go whatever else was made from them."""

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
    """Stage and key of the outputs that hold rows which were withdrawn, each with what it holds, in words.

    Of those whose rows cannot be told apart any more (labels, tokens), what was made of such a split.
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
        if derived & kinds.get(("split", split), set()):
            kinds[entry.stage, entry.key] = derived
    return {
        place: f"holds {' and '.join(kind for kind in TYPES if kind in found)} that were withdrawn"
        for place, found in kinds.items()
    }


def _held_kinds(folder: Path, parts: Sequence[str], withdrawn: Withdrawn) -> set[str]:
    """The kinds of withdrawn rows that stand there."""
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
