"""Sources of the version of the data before that a preset no longer names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.common.counts import counted
from tasks.data.records import TYPES, read_shards
from tasks.data.sources.source_types import DataParameters
from tasks.dvc.versions import folder_hash

_SHOWN = 5


def describe_missing_sources(root: Path, parameters: DataParameters, known: Mapping[str, Any]) -> str:
    """Return a sentence about sources of the present version that the preset lacks; "" if it has all.

    A preset that has none of them is one of other data, as the first of one's own after the demo. In a clone
    without data/, no rows leave it, and git keeps the version before.

    The numbers of rows are given while data/ still holds that version.

    Args:
        root: The project's folder.
        parameters: The preset's sources.
        known: The `md5` and the `meta` of data.dvc.
    """
    present = {source.name for source in parameters.sources}
    before = [str(name) for name in known["meta"].get("names") or ()]
    missing = [name for name in before if name not in present]
    if not missing or len(missing) == len(before) or not (root / "data").is_dir():
        return ""
    rows = Counter[str]()
    # Other files may be damaged, and say nothing about the version.
    if folder_hash(root) == known["md5"]:
        rows.update(row["source"] for kind in TYPES for row in read_shards(root / "data" / kind))
    named = [f"{name} ({counted(rows[name], 'rows')})" if rows else name for name in missing[:_SHOWN]]
    more = [f"{len(missing) - _SHOWN} more"] if len(missing) > _SHOWN else []
    is_one = len(missing) == 1
    return (
        f"this preset lacks {'a source' if is_one else 'sources'} of the version of data/ before: "
        f"{', '.join([*named, *more])}. Rows that no other source has leave data/; to keep them, name the "
        f"{'source' if is_one else 'sources'} in data.sources, or run the preset that does"
    )
