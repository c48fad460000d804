"""The label page as a source: its judgements as the lines of a file in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tasks.data.file_io.files import SourceFile
from tasks.data.sources import Source
from tasks.data.withdrawals import read_withdrawn
from tasks.labelling.page_rows import page_rows
from tasks.labelling.schema import read_label_store

# The name of the file in messages and in the origins of rows.
FILE_NAME = "label page.jsonl"


@dataclass(frozen=True)
class PageSnapshot:
    """The judgements at one moment: JSON Lines, and notices for the user."""

    content: bytes
    notices: Sequence[str]


def read_page(source: Source, root: Path) -> PageSnapshot:
    """Return the label page's judgements as a source reads them.

    People judge at any time. A process therefore reads each source once, so that the digest of the sources
    and the rows are those of one moment.
    """
    withdrawn = tuple(sorted(read_withdrawn(root).annotators))
    return _take_snapshot(root.resolve(), source.min_known_accuracy, withdrawn)


@cache
def _take_snapshot(root: Path, least_accuracy: float, withdrawn: tuple[str, ...]) -> PageSnapshot:
    store = read_label_store(root)
    if store is None:
        return PageSnapshot(b"", ("the label page has no judgements yet; `chatmill label` serves it",))
    try:
        found = page_rows(store, least_accuracy, withdrawn)
    finally:
        store.close()
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in found.rows]
    notices = found.notices or ([] if lines else ["the label page has no judgements yet"])
    return PageSnapshot("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"), tuple(notices))


def forget_pages() -> None:
    """Let the next reading of a page see the judgements since the last one, as a new process does."""
    _take_snapshot.cache_clear()


def page_files(source: Source, root: Path) -> list[SourceFile]:
    """Return the judgements as a file of the source; no file if there are none."""
    content = read_page(source, root).content
    return [SourceFile(FILE_NAME, content)] if content else []
