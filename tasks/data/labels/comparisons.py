"""Select the comparisons of a split, and join those of the same two answers to one pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from model.errors import UserError
from tasks.data.labels.judgements import Estimates, canonical_choice
from tasks.data.labels.ratings import EVERY, Kept, LabelsParameters, Ratings
from tasks.data.records import Comparison, read_shards


class AggregatedPair(NamedTuple):
    """Two answers that one or several people compared.

    Attributes:
        row: The first comparison of these answers, for what they have in common.
        chosen: The answer that is more probably the better one; of a tie, the first in canonical order.
        rejected: The other answer.
        probability: The probability that `chosen` is better: from 0.5, a tie, to 1.
    """

    row: Comparison
    chosen: str
    rejected: str
    probability: float


class Comparisons:
    """The selected comparisons of a split.

    Attributes:
        ties: The number of ties among what was read last: comparisons, or pairs of answers.
        choices: The number of the others.
        rows: The number of comparisons that were read, of one person each.
        unselected: The number of those whose aspect or source the parameters leave out.
    """

    def __init__(self, split: Path, parameters: LabelsParameters, kept: Kept = EVERY) -> None:
        self.folder, self.parameters, self.kept = split / "comparisons", parameters, kept
        self.ties = self.choices = self.rows = self.unselected = 0

    def judged(self) -> Iterator[Comparison]:
        """Yield each comparison, as one person made it."""
        self.ties = self.choices = self.rows = self.unselected = 0
        for values in read_shards(self.folder):
            row = Comparison(**values)
            if not self.kept.holds(values):
                continue
            self.rows += 1
            if not self.parameters.select(row.aspect, row.source):
                self.unselected += 1
                continue
            if row.choice == "tie":
                self.ties += 1
            else:
                self.choices += 1
            yield row

    def aggregated(self, wins_by_subject: Estimates) -> Iterator[AggregatedPair]:
        """Yield each two compared answers once, where they are first compared; count pairs, not people.

        Args:
            wins_by_subject: The probability that the first answer in canonical order is better.
        """
        seen: set[int] = set()
        ties = choices = 0
        for row in self.judged():
            found = canonical_choice(vars(row))
            if found.subject in seen:
                continue
            seen.add(found.subject)
            wins = wins_by_subject[found.subject]
            first, second = (row.b, row.a) if found.turned else (row.a, row.b)
            chosen, rejected = (second, first) if wins < 0.5 else (first, second)
            ties, choices = ties + (wins == 0.5), choices + (wins != 0.5)
            # 1 - 0.7 is 0.30000000000000004.
            yield AggregatedPair(row, chosen, rejected, round(max(wins, 1 - wins), 6))
        self.ties, self.choices = ties, choices


def refuse_one_class(ratings: Ratings, comparisons: Comparisons, margin: float) -> None:
    """Raise UserError if the labels express no preference: there are none, or all are of one class."""
    count = ratings.count + comparisons.ties + comparisons.choices
    if not count:
        chosen = ratings.parameters
        narrowed = [f"labels.{name}" for name in ("aspects", "sources") if getattr(chosen, name)]
        raise UserError(
            "there are no labels to learn preferences from; add ratings or comparisons to data.sources"
            + (f", or change {' or '.join(narrowed)}" if narrowed else "")
        )
    # One decided comparison is a preference, whatever the scores are.
    if not comparisons.choices and all(high - low < margin for low, high in ratings.ends.values()):
        raise UserError(
            f"all {count} labels are of one class: no two scores are {margin} "
            "apart and every comparison is a tie; they teach no preference (a pair that fields rejects is "
            "such a label too; ignore in place of reject leaves it out)"
        )
