"""What each person of the label page has done: judgements, seconds, and their accuracy on known items."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.evaluation.confidence_intervals import wilson_interval
from tasks.labelling.known_items import known_accuracy


@dataclass(frozen=True)
class MeasuredShare:
    """A share with its 95% interval (Wilson) and the number of cases."""

    share: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class PersonSummary:
    """What a person has done: judgements, the median seconds of one, and their accuracy on known items.

    Seconds of 0 are unknown, as other tools may not tell them; the median of none is 0.
    """

    person: str
    judgements: int
    median_seconds: float
    known: MeasuredShare | None


def summarise_people(rows: Sequence[Mapping[str, Any]]) -> list[PersonSummary]:
    """Return a summary of each person by name, from first judgements as `newest_judgements` yields them."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        seconds[row["person"]].append(row["seconds"])
    known = known_accuracy(rows)
    return [
        PersonSummary(
            person,
            len(spent),
            statistics.median(filter(None, spent)) if any(spent) else 0.0,
            measure_share(known[person].right, known[person].judged) if person in known else None,
        )
        for person, spent in sorted(seconds.items())
    ]


def measure_share(wins: int, trials: int) -> MeasuredShare | None:
    """Return the share of wins with its interval; None without trials."""
    return MeasuredShare(wins / trials, *wilson_interval(wins, trials), trials) if trials else None
