"""Compare the number of rows with that of the last accepted version of the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import UserError
from tasks.common.git_checkout import run_git
from tasks.dvc.pointer_file import POINTER, parse_pointer, read_pointer


def accepted_rows(root: Path, now: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Return the row counts of the last accepted version if it differs from the present one; else empty.

    It is also empty if most of that version's sources are gone: then this is other data, not less of it. Rows
    that were withdrawn since are not counted.

    Args:
        root: The project's folder.
        now: The present version's pointer; None: that of data.dvc.
    """
    # Without git, or without a commit, nothing was accepted yet, and no row can be missing.
    done = run_git(root, "show", f"HEAD:./{POINTER}")
    now = now or read_pointer(root)
    if done.returncode or now is None:
        return {}
    try:
        # The committed version counts as accepted: a person has looked at it.
        committed = parse_pointer(done.stdout.decode("utf-8", "replace"), root / POINTER)
    except UserError:
        # A damaged one says nothing of its rows.
        return {}
    if committed["md5"] == now["md5"]:
        return {}
    meta = committed["meta"]
    names, here = (frozenset(found.get("names") or ()) for found in (meta, now["meta"]))
    # Another preset's data in the same project is not a loss of rows.
    if names and 2 * len(names & here) < len(names):
        return {}
    before, after = (_withdrawn_rows(found) for found in (meta, now["meta"]))
    return {
        kind: max(0, count - max(0, after.get(kind, 0) - before.get(kind, 0)))
        for kind, count in (meta.get("rows") or {}).items()
    }


def least_rows(before: int, max_row_drop: float) -> int:
    """Return how many rows of a kind there must be at least, if the accepted version has `before`."""
    return int(before * (1 - max_row_drop))


def lost_rows(root: Path, max_row_drop: float) -> dict[str, int]:
    """Return the row counts of the accepted version by kind, of kinds that lost too many rows since.

    Only this decides about the rows. Other counts of the accepted version would compute the stage again once
    data.dvc is committed, with the same result.
    """
    meta = (read_pointer(root) or {}).get("meta") or {}
    rows = meta.get("rows") or {}
    return {
        kind: count
        for kind, count in accepted_rows(root).items()
        if int(rows.get(kind, 0)) < least_rows(count, max_row_drop)
    }


def _withdrawn_rows(meta: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of rows, by kind, that a version leaves out as withdrawn."""
    return (meta.get("withdrawn") or {}).get("rows") or {}
