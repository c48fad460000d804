"""Find kinds of rows with so few groups that a split cannot hold any of them out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tasks.common.counts import counted

_FEW = 20  # groups; a split by digests of fewer is likely to leave one of the splits empty
_SHARED = 2  # rows in a group on average; below it, groups are hardly shared
_DIGEST = re.compile(r"[0-9a-f]{16}")
# A quote within a JSON string is escaped, so in a canonical line this matches the key and nothing else.
GROUP = re.compile(rb'"group":"((?:[^"\\]|\\.)*)"')


def group_of(line: bytes) -> str:
    """Return the group of a row's line. The rest of a canonical line is not parsed."""
    found = GROUP.search(line)
    if found is None:
        return str(json.loads(line)["group"])
    return str(json.loads(b'"' + found[1] + b'"')) if b"\\" in found[1] else found[1].decode()


def describe_few_groups(kind: str, paths: Iterable[Path]) -> str:
    """Return a sentence if the rows of a kind have too few groups to be split; empty if they have enough.

    Args:
        kind: `text`, `pairs`, `comparisons` or `ratings`.
        paths: The shards that hold all rows of the kind.
    """
    counts = Counter[str]()
    for path in paths:
        with path.open("rb") as lines:
            for line in lines:
                counts[group_of(line)] += 1
                # Stops early: large data has enough groups within its first rows.
                if len(counts) > _FEW:
                    return ""
    rows = counts.total()
    if rows < _SHARED * max(1, len(counts)) or rows < 2:
        return ""
    group, most = counts.most_common(1)[0]
    said = (
        f"all {counted(rows, kind)} are of one group"
        if len(counts) == 1
        else f"the {counted(rows, kind)} are of {len(counts)} groups, {most:,} of them of one"
    )
    if _DIGEST.fullmatch(group):
        return f"{said}, as they share a prompt; add rows about other prompts"
    return (
        f"{said} ({group[:40]!r}), and a group is never split; if the column group means something else, set "
        'columns: {group: ""} at its source'
    )
