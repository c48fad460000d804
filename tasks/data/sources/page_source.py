"""The label page as a source: its judgements as the lines of a file in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tasks.data.file_io.files import SourceFile
from tasks.data.records import pair_row
from tasks.data.sources.source_types import DataParameters, IngestParameters, Source
from tasks.data.withdrawals import Withdrawn, read_withdrawn

# The name of the file in messages and in the origins of rows.
FILE_NAME = "label page.jsonl"


@dataclass(frozen=True)
class PageSnapshot:
    """The judgements at one moment: JSON Lines, and notices for the user."""

    content: bytes
    notices: Sequence[str]


def read_page(source: Source, parameters: DataParameters, root: Path) -> PageSnapshot:
    """Return the label page's judgements as a source reads them: those of its products.

    People judge at any time. A process therefore reads each source once, so that the digest of the sources
    and the rows are those of one moment.
    """
    own = parameters if isinstance(parameters, IngestParameters) else IngestParameters(parameters.sources)
    # All that decides the rows is among the arguments: one process may read the page for several products.
    return _take_snapshot(
        root.resolve(), source.min_known_accuracy, source.products, own.product, own.presets,
        read_withdrawn(root),
    )  # fmt: skip


@cache
def _take_snapshot(
    root: Path,
    least_accuracy: float,
    products: tuple[str, ...],
    own: str,
    presets: tuple[str, ...],
    withdrawn: Withdrawn,
) -> PageSnapshot:
    # Imported here: SQLAlchemy takes half a second, and most presets have no label page.
    from tasks.labelling.batch_products import ProductChoice
    from tasks.labelling.page_rows import AUTHOR_KEY, page_rows
    from tasks.labelling.schema import read_label_store

    store = read_label_store(root)
    if store is None:
        return PageSnapshot(b"", ("the label page has no judgements yet; `chatmill label` serves it",))
    with store:
        choice = ProductChoice(products, own, presets)
        found = page_rows(store, least_accuracy, choice, withdrawn.names_person)
    lines = []
    for row in found.rows:
        author = row.pop(AUTHOR_KEY, "")
        if not _is_left_out(row, author, withdrawn):
            lines.append(json.dumps(row, ensure_ascii=False, sort_keys=True))
    notices = found.notices or ([] if lines else ["the label page has no judgements yet"])
    return PageSnapshot("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"), tuple(notices))


def _is_left_out(row: Mapping[str, Any], author: str, withdrawn: Withdrawn) -> bool:
    """Return whether an answer was written by a withdrawn person since the withdrawal.

    What they wrote before is withdrawn by its id, so that ingestion leaves it out and counts it.
    """
    if not author or not withdrawn.names_person(author):
        return False
    return (
        pair_row(row["prompt"], row["completion"], "", "", (), row.get("history", ())).id not in withdrawn.ids
    )


def forget_pages() -> None:
    """Let the next reading of a page see the judgements since the last one, as a new process does."""
    _take_snapshot.cache_clear()


def page_files(source: Source, parameters: DataParameters, root: Path) -> list[SourceFile]:
    """Return the judgements as a file of the source; no file if there are none."""
    content = read_page(source, parameters, root).content
    return [SourceFile(FILE_NAME, content)] if content else []
