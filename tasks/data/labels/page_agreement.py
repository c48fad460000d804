"""How far the people of the label page agree, before reviewers decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.common.aspects import OVERALL
from tasks.data.labels.annotator_agreement import Agreement
from tasks.labelling.known_items import preference_of, preference_of_step

PREFERENCE_VALUES = {"a": 1, "tie": 0, "b": -1}


@dataclass(frozen=True)
class AspectAgreement:
    """How far people agree on an aspect.

    Attributes:
        aspect: The aspect, or OVERALL.
        alpha: Krippendorff's alpha; None if it cannot be measured.
        low: The lower end of its 95% interval over items; None for too few items.
        high: The upper end.
        same: The share of pairs of people who choose the same; None if no item has two judgements.
        items: Items with two or more judgements.
    """

    aspect: str
    alpha: float | None
    low: float | None
    high: float | None
    same: float | None
    items: int


def measure_first_judgements(rows: Iterable[Mapping[str, Any]]) -> list[AspectAgreement]:
    """Return the agreement by aspect; `rows` are first judgements as `newest_judgements` yields them."""
    given: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        # A known item has one right answer, so agreement on it is higher than on others.
        if row["item_known_choice"]:
            continue
        given[OVERALL][row["item"]].append(PREFERENCE_VALUES[preference_of(row["choice"])])
        for aspect, step in row["steps"].items():
            given[aspect][row["item"]].append(PREFERENCE_VALUES[preference_of_step(step)])
    # The choice as a whole comes first.
    return [_aspect_agreement(aspect, given[aspect].values()) for aspect in sorted(given, key=_overall_first)]


def _overall_first(aspect: str) -> tuple[bool, str]:
    return aspect != OVERALL, aspect


def _aspect_agreement(aspect: str, items: Iterable[Sequence[int]]) -> AspectAgreement:
    shared = [item for item in items if len(item) > 1]
    if not shared:
        return AspectAgreement(aspect, None, None, None, None, 0)
    # The report of a run measures in the same way.
    agreement = Agreement(mirrored=True)
    for item in shared:
        agreement.add_item(item)
    low, high = agreement.alpha_interval or (None, None)
    return AspectAgreement(
        aspect, agreement.krippendorff_alpha, low, high, agreement.of_pairs, agreement.items
    )
