"""The label page's overview: who judged how much, how far people agree, and how the newest model fares."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.data.labels.page_agreement import PREFERENCE_VALUES, AspectAgreement, measure_first_judgements
from tasks.labelling.batches import Batch, list_batches
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.known_items import preference_of
from tasks.labelling.person_summary import MeasuredShare, PersonSummary, measure_share, summarise_people
from tasks.labelling.queue import count_left
from tasks.labelling.review import count_reviews
from tasks.labelling.schema import LabelStore


@dataclass(frozen=True)
class ModelResult:
    """How the newest model fares on randomly chosen items, an item at a time.

    Attributes:
        model: The newest model.
        wins: Items on which most people prefer its answer; a reviewer's decision replaces theirs.
        ties: Items without a preference.
        losses: Items on which most people prefer the other answer.
        win_rate: Wins among wins and losses; None if there are none.
    """

    model: str
    wins: int
    ties: int
    losses: int
    win_rate: MeasuredShare | None


@dataclass(frozen=True)
class LabelOverview:
    """What the overview shows. `days` has the number of judgements of each person, the newest day last."""

    days: Mapping[str, Mapping[str, int]]
    people: Sequence[PersonSummary]
    agreement: Sequence[AspectAgreement]
    batches: Sequence[Batch]
    judgements: int
    left: int
    reviews: int
    median_seconds: float | None
    newest_model: ModelResult | None


def measure_labels(store: LabelStore) -> LabelOverview:
    """Return the overview of all judgements in a store."""
    rows = [dict(row) for row in newest_judgements(store)]
    first = [row for row in rows if not row["review"]]
    with store.read() as connection:
        left = count_left(connection)
    return LabelOverview(
        days=_count_by_day(first),
        people=summarise_people(first),
        agreement=measure_first_judgements(first),
        batches=list_batches(store),
        judgements=len(first),
        left=left,
        reviews=count_reviews(store),
        median_seconds=statistics.median(row["seconds"] for row in first) if first else None,
        newest_model=_newest_model(rows),
    )


def _count_by_day(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    days: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        days[row["time"][:10]][row["person"]] += 1
    return {day: dict(sorted(days[day].items())) for day in sorted(days)}


def _newest_model(rows: Sequence[Mapping[str, Any]]) -> ModelResult | None:
    """Return how the model that was first seen last fares on random items; None if no item names models."""
    random = [row for row in rows if row["item_reason"] == "random"]
    seen: dict[str, int] = {}
    for row in sorted(random, key=lambda row: row["item"]):
        for model in (row["item_a_model"], row["item_b_model"]):
            seen.setdefault(model, row["batch_number"])
    named = [model for model in seen if model]
    if len(named) < 2:
        return None
    # `b` of two models that came together: a batch compares the champion with the challenger, in this order.
    newest = max(named, key=lambda model: (seen[model], named.index(model)))
    outcomes: dict[int, list[int]] = defaultdict(list)
    decided: dict[int, int] = {}
    for row in random:
        models = (row["item_a_model"], row["item_b_model"])
        if newest not in models or models[0] == models[1]:
            continue
        value = PREFERENCE_VALUES[preference_of(row["choice"])] * (1 if models[0] == newest else -1)
        if row["review"]:
            decided[row["item"]] = value
        else:
            outcomes[row["item"]].append(value)
    totals = [decided.get(item, sum(values)) for item, values in outcomes.items()]
    totals += [value for item, value in decided.items() if item not in outcomes]
    wins, losses = sum(total > 0 for total in totals), sum(total < 0 for total in totals)
    return ModelResult(newest, wins, len(totals) - wins - losses, losses, measure_share(wins, wins + losses))
