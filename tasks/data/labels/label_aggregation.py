"""Aggregate the judgements of several people on one thing: as the mean, or by each person's error rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.common.names import split_stratum
from tasks.data.labels.dawid_skene import ErrorRates, fit_error_rates
from tasks.data.labels.judgements import (
    BETTER,
    TIED,
    WORSE,
    Estimates,
    Judgements,
    JudgementTable,
    tabulate_judgements,
)
from tasks.data.labels.ratings import DAWID_SKENE

# Dawid and Skene's tables grow with the square of the scale, and each cell needs judgements.
MAX_STEPS = 7
# The classes of a comparison, and the probability that the first answer is better in each.
_CHOICES = np.array([WORSE, TIED, BETTER], float)
_WINS = np.array([0.0, 0.5, 1.0])
# The parts of the training labels, from which error rates are estimated. Held-out labels take no part in it.
TRAIN, JUDGE = "train", "judge"


@dataclass
class Aggregation:
    """Aggregated judgements of one kind.

    Attributes:
        estimates: By part, the probability that the first answer in canonical order is better, or the score.
        annotators: By aspect and source, the error rates of each person, where they were estimated.
        notes: Sentences for the user about aspects and sources without such rates.
    """

    estimates: dict[str, Estimates]
    annotators: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def aggregate_comparisons(parts: Mapping[str, Judgements], method: str) -> Aggregation:
    """Return the probability that the first of two answers in canonical order is better, for each pair.

    Args:
        parts: The comparisons of each part of the labels.
        method: As in `LabelsParameters.aggregation`.
    """
    collected = _Collected(parts)
    for stratum in collected.strata:
        training = collected.training(stratum)
        fitted = collected.fit(stratum, training, _CHOICES, True) if method == DAWID_SKENE else None
        if fitted:
            collected.annotators[stratum] = _choice_rates(fitted, training)
        for part, table in collected.tables(stratum):
            if fitted:
                wins = _posteriors(fitted, training, table, _CHOICES) @ _WINS
            else:
                # The share of the people who chose the answer; a tie is half a choice.
                wins = (table.means - WORSE) / (BETTER - WORSE)
            collected.add(part, table, wins)
    return collected.finish()


def aggregate_ratings(parts: Mapping[str, Judgements], method: str) -> Aggregation:
    """Return the score of each answer that is not the mean of its scores.

    Args:
        parts: The ratings of each part of the labels.
        method: As in `LabelsParameters.aggregation`.
    """
    collected = _Collected(parts)
    for stratum in collected.strata if method == DAWID_SKENE else ():
        training, tables = collected.training(stratum), collected.tables(stratum)
        steps = np.unique(np.concatenate([table.values for _, table in tables]))
        if len(steps) > MAX_STEPS:
            collected.note(
                stratum,
                f"the scores have {len(steps)} different values, more than {MAX_STEPS}: their mean is used",
            )
            continue
        fitted = collected.fit(stratum, training, steps, False)
        if fitted:
            collected.annotators[stratum] = _score_rates(fitted, training, steps)
            for part, table in tables:
                collected.add(part, table, _posteriors(fitted, training, table, steps) @ steps)
    return collected.finish()


class _Collected:
    """The judgements of all parts while they are aggregated."""

    def __init__(self, parts: Mapping[str, Judgements]) -> None:
        self.parts = parts
        self.strata = sorted({stratum for part in parts.values() for stratum in part.strata})
        self.annotators: dict[str, list[dict[str, Any]]] = {}
        self.notes: list[str] = []
        self.found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {part: [] for part in parts}

    def training(self, stratum: str) -> JudgementTable:
        """Return the training judgements of a stratum as one table."""
        return tabulate_judgements(
            stratum, (self.parts[name] for name in (TRAIN, JUDGE) if name in self.parts)
        )

    def tables(self, stratum: str) -> list[tuple[str, JudgementTable]]:
        """Return the judgements of each part that has some of a stratum."""
        found = [(name, tabulate_judgements(stratum, [part])) for name, part in self.parts.items()]
        return [(name, table) for name, table in found if len(table.subjects)]

    def fit(
        self, stratum: str, table: JudgementTable, steps: np.ndarray, mirrored: bool
    ) -> ErrorRates | None:
        """Return the error rates of a stratum; None, with a note, if no two people judged the same thing."""
        if not len(table.subjects) or table.counts.max() < 2:
            self.note(
                stratum, "nothing in the training labels was judged twice, so nobody's errors are known"
            )
            return None
        choices = np.searchsorted(steps, table.values)
        fitted = fit_error_rates(table.items, table.people, choices, len(steps), mirrored)
        if not fitted.converged:
            self.note(stratum, f"the error rates still changed after {fitted.iterations} iterations")
        return fitted

    def note(self, stratum: str, sentence: str) -> None:
        aspect, source = split_stratum(stratum)
        self.notes.append(f"labels.aggregation: {aspect} ({source}): {sentence}")

    def add(self, part: str, table: JudgementTable, values: np.ndarray) -> None:
        # Rounded, so that a tie is exactly a tie, and a difference in the last digit changes no file.
        self.found[part].append((table.subjects, np.round(values, 6)))

    def finish(self) -> Aggregation:
        """Return the aggregated judgements."""
        nothing = (np.zeros(0, np.uint64), np.zeros(0))
        estimates = {
            part: Estimates(*(np.concatenate(column) for column in zip(nothing, *found, strict=True)))
            for part, found in self.found.items()
        }
        return Aggregation(estimates, self.annotators, self.notes)


def _posteriors(
    fitted: ErrorRates, training: JudgementTable, table: JudgementTable, steps: np.ndarray
) -> np.ndarray:
    """Return the probability of each class of the subjects of a table, [I, K]."""
    number = {name: index for index, name in enumerate(training.names)}
    # -1 stands for a person without training judgements, who counts as an average one.
    people = np.array([number.get(name, -1) for name in table.names])[table.people]
    return fitted.posteriors(table.items, people, np.searchsorted(steps, table.values))


def _choice_rates(fitted: ErrorRates, table: JudgementTable) -> list[dict[str, Any]]:
    """Return for each person how often they choose the better answer, the worse one, and neither."""
    better, tied = len(_CHOICES) - 1, 1
    return [
        {
            "annotator": name,
            "judgements": count,
            "better": round(float(rates[better, better]), 4),
            "worse": round(float(rates[better, 0]), 4),
            "tie": round(float(rates[better, tied]), 4),
            "tie_of_ties": round(float(rates[tied, tied]), 4),
        }
        for name, count, rates in _each_person(fitted, table)
    ]


def _score_rates(fitted: ErrorRates, table: JudgementTable, steps: np.ndarray) -> list[dict[str, Any]]:
    """Return for each person how often they give the estimated score, and how far from it they are."""
    distances = steps[None, :] - steps[:, None]
    return [
        {
            "annotator": name,
            "judgements": count,
            "same": round(float(fitted.class_shares @ rates.diagonal()), 4),
            "above": round(float(fitted.class_shares @ (rates * distances).sum(1)), 4),
            "scale": steps.tolist(),
            "rates": rates.round(4).tolist(),
        }
        for name, count, rates in _each_person(fitted, table)
    ]


def _each_person(fitted: ErrorRates, table: JudgementTable) -> list[tuple[str, int, np.ndarray]]:
    counts = np.bincount(table.people, minlength=len(table.names)).tolist()
    return list(zip(table.names, counts, fitted.rates, strict=True))
