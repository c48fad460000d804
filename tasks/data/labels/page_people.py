"""What the people of the label page have done, for the report: judgements, seconds, known items."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from tasks.data.withdrawals import Withdrawn, read_withdrawn


def read_page_people(root: Path) -> tuple[dict[str, Any], ...]:
    """Return the fields of `PersonSummary` of each person of the label page whose labels are not withdrawn.

    `known` is None or has the fields of `MeasuredShare`. People judge at any time. A process therefore reads
    the page once, so that digest and figures are of one moment.
    """
    return _summarise_page(root.resolve(), read_withdrawn(root))


def page_people_digest(root: Path) -> str:
    """Return the digest of the figures: a cache key must not name people."""
    return hashlib.sha256(json.dumps(read_page_people(root), sort_keys=True).encode()).hexdigest()


@cache
def _summarise_page(root: Path, withdrawn: Withdrawn) -> tuple[dict[str, Any], ...]:
    # Imported here: SQLAlchemy takes half a second, and most presets have no label page.
    from tasks.labelling.judgements import newest_judgements
    from tasks.labelling.person_summary import summarise_people
    from tasks.labelling.schema import read_label_store

    store = read_label_store(root)
    if store is None:
        return ()
    with store:
        first = [dict(row) for row in newest_judgements(store, review=False)]
    first = [row for row in first if not withdrawn.names_person(row["person"])]
    return tuple(asdict(each) for each in summarise_people(first))


def forget_page_people() -> None:
    """Let the next reading see the judgements since the last one, as a new process does."""
    _summarise_page.cache_clear()
