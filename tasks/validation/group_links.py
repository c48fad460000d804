"""Link the groups of rows that a correction tears apart, such as the turns of one conversation.

A group is often the digest of a first turn. If a person corrects that turn in one row, its group changes,
and the later turns of the conversation keep the former one. A split could hold out one part and train on the
other. So both groups become one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.data.records import parse_lines
from tasks.validation.corrected_rows import derive_again, follows_text
from tasks.validation.quarantine import Release

# The id is the first key of a canonical line.
_ID = re.compile(rb'\{"id":"([^"\\]*)"')


@dataclass(frozen=True)
class LinkTask:
    """A shard of ingestion's rows, and the corrections by the id of their row."""

    rows: Path
    corrected: Mapping[str, Release]


def link_tasks(shards: Iterable[Path], released: Mapping[str, Release]) -> list[LinkTask]:
    """Return a task for each shard; empty if no release corrects a row."""
    corrected = {number: release for number, release in released.items() if release.row is not None}
    return [LinkTask(path, corrected) for path in shards] if corrected else []


def find_links(task: LinkTask) -> list[tuple[str, str]]:
    """Return the former and the new group of each row of a shard whose group follows a corrected text."""
    return list(_read_links(task))


def join_links(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the group that each linked group becomes.

    Of linked groups one that ingestion made stays, so the rows that nobody corrected do not move to another
    split.

    Args:
        links: The former and the new group of corrected rows.
    """
    found = sorted(set(links))
    members: dict[str, set[str]] = {}
    for before, after in found:
        joined = members.get(before, {before}) | members.get(after, {after})
        members |= dict.fromkeys(joined, joined)
    former = {before for before, _ in found}
    return {group: root for group, joined in members.items() if (root := min(joined & former)) != group}


def _read_links(task: LinkTask) -> Iterator[tuple[str, str]]:
    with task.rows.open("rb") as lines:
        for line in lines:
            found = _ID.match(line)
            if found is None or found[1].decode("utf-8", "replace") not in task.corrected:
                continue
            (before,) = parse_lines([line], str(task.rows))
            after = task.corrected[str(before["id"])].row
            assert after is not None
            # A row that could not be read has no group of its own. A group that a person wrote is meant.
            if not before.get("fault") and follows_text(before, after):
                yield str(before["group"]), str(derive_again(before, after)["group"])
