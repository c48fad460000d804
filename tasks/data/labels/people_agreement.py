"""The agreement of each two people on what both judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from model.evaluation.confidence_intervals import wilson_interval
from tasks.data.labels.judgements import UNNAMED_PEOPLE, JudgementTable

# People whose pairs are listed, those with the most judgements: pairs grow with the square.
MOST_PEOPLE = 50
# Pairs of judgements that are in memory at once.
_CHUNK = 1_000_000


def agreement_by_pair(table: JudgementTable, mirrored: bool) -> tuple[list[dict[str, Any]], int]:
    """Return the agreement of each two named people who judged the same things, and how many are left out.

    Each pair has `people`, the number of `items` that both judged, the share of equal judgements `same` with
    its 95% interval, and Krippendorff's `alpha` of these two, which is 0 for agreement by chance. The pairs
    with the most items come first.

    Args:
        table: The judgements.
        mirrored: As in `Agreement`.
    """
    people, left_out = _most_active(table)
    size = len(people)
    sums = np.zeros((5, size * size))
    for one, other, first, second in _judgement_pairs(table, people):
        cells = one * size + other
        found = (
            np.ones(len(cells)),
            first == second,
            first + second,
            first**2 + second**2,
            (first - second) ** 2,
        )
        sums += [np.bincount(cells, weights, size * size) for weights in found]
    pairs = []
    for cell in np.flatnonzero(sums[0]).tolist():
        items, same, total, squares, apart = sums[:, cell].tolist()
        low, high = wilson_interval(same, items)
        names = [table.names[people[place]] for place in divmod(cell, size)]
        pairs.append(
            {
                "people": names,
                "items": int(items),
                "same": round(same / items, 4),
                "interval": [round(low, 4), round(high, 4)],
                "alpha": round(_alpha_of_two(items, total, squares, apart, mirrored), 4),
            }
        )
    return sorted(pairs, key=lambda pair: (-pair["items"], pair["people"])), left_out


def _alpha_of_two(items: float, total: float, squares: float, apart: float, mirrored: bool) -> float:
    """Return Krippendorff's alpha on an interval scale of two people who both judged all items."""
    # As in `Agreement`: both orders of all items have a mean of 0, and twice as many judgements.
    expected = 2 * items * squares - (0.0 if mirrored else total * total)
    others = 2 * items - (0.5 if mirrored else 1.0)
    # All judgements are equal, so there is no disagreement.
    return 1 - apart * others / expected if expected > 0 else 1.0


def _most_active(table: JudgementTable) -> tuple[list[int], int]:
    """Return the named people with the most judgements, in order of their names, and how many others are."""
    counts = np.bincount(table.people, minlength=len(table.names)).tolist()
    named = [index for index, name in enumerate(table.names) if name != UNNAMED_PEOPLE]
    chosen = sorted(named, key=lambda index: (-counts[index], index))[:MOST_PEOPLE]
    return sorted(chosen), len(named) - len(chosen)


def _judgement_pairs(
    table: JudgementTable, people: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield pairs of judgements of one thing: the places of both people in `people`, and both values."""
    place = np.full(len(table.names), -1)
    place[people] = np.arange(len(people))
    kept = place[table.people] >= 0
    # The table is sorted by item and person, so the first of a person's judgements of one thing is kept.
    kept[1:] &= (np.diff(table.items) != 0) | (np.diff(table.people) != 0)
    items, who, values = table.items[kept], place[table.people][kept], table.values[kept]
    starts = np.flatnonzero(np.diff(items, prepend=-1))
    sizes = np.diff(starts, append=len(items))
    for size in np.unique(sizes[sizes > 1]).tolist():
        one, other = np.triu_indices(size, 1)
        first = starts[sizes == size]
        step = max(1, _CHUNK // len(one))
        for begin in range(0, len(first), step):
            rows = first[begin : begin + step, None]
            left, right = (rows + one).ravel(), (rows + other).ravel()
            yield who[left], who[right], values[left], values[right]
