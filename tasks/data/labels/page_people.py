"""What the people of the label page have done, for the report: judgements, seconds, known items."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data.withdrawals import Withdrawn, read_withdrawn


class PageFigures(NamedTuple):
    """What the page's people have done, at one moment, without people whose labels are withdrawn.

    Attributes:
        people: The fields of `PersonSummary` of each person, by name; `known` is None or has the fields of
            `MeasuredShare`.
        decided: The number of items that a reviewer decided.
        agreement: The fields of `AspectAgreement` of each aspect, over first judgements.
    """

    people: tuple[dict[str, Any], ...] = ()
    decided: int = 0
    agreement: tuple[dict[str, Any], ...] = ()


NO_PAGE = PageFigures()


def read_page_people(root: Path) -> PageFigures:
    """Return what the people of the label page have done.

    People judge at any time. A process therefore reads the page once, so that digest and figures are of one
    moment.
    """
    return _summarise_page(root.resolve(), read_withdrawn(root))


def page_people_digest(root: Path) -> str:
    """Return the digest of the figures: a cache key must not name people."""
    return hashlib.sha256(json.dumps(read_page_people(root), sort_keys=True).encode()).hexdigest()


@cache
def _summarise_page(root: Path, withdrawn: Withdrawn) -> PageFigures:
    # Imported here: SQLAlchemy takes half a second, and most presets have no label page.
    from tasks.data.labels.page_agreement import measure_first_judgements
    from tasks.labelling.judgements import newest_judgements
    from tasks.labelling.person_summary import summarise_people
    from tasks.labelling.schema import read_label_store

    store = read_label_store(root)
    if store is None:
        return NO_PAGE
    with store:
        rows = [dict(row) for row in newest_judgements(store)]
    rows = [row for row in rows if not withdrawn.names_person(row["person"])]
    first = [row for row in rows if not row["review"]]
    return PageFigures(
        tuple(asdict(each) for each in summarise_people(first)),
        len({row["item"] for row in rows if row["review"]}),
        tuple(asdict(each) for each in measure_first_judgements(first)),
    )


def forget_page_people() -> None:
    """Let the next reading see the judgements since the last one, as a new process does."""
    _summarise_page.cache_clear()
