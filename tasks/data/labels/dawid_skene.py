"""Estimate what is true from judgements that disagree, and each person's error rates, by EM.

Dawid & Skene, Maximum likelihood estimation of observer error-rates using the EM algorithm, Applied
Statistics 28(1), 1979. A person who often disagrees with what the others find counts less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Judgements that each cell of a person's table has before any is seen, and each class (Laplace's prior). With
# 0.01, the truth of 100 simulated pairs of three judgements is 1.7 times as surprising, at equal accuracy.
PRIOR = 1.0
MAX_ITERATIONS = 200
# The change of the log-posterior per judgement below which the estimates have converged.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class ErrorRates:
    """The estimates of Dawid and Skene's model.

    Attributes:
        class_shares: The share of each true class, [K].
        rates: The probability of each judgement by person and true class, [P, K, K].
        pooled: The same for a person of whom nothing is known, from all people's judgements, [K, K].
        iterations: The number of steps of EM.
        converged: Whether the estimates stopped changing before `MAX_ITERATIONS`.
    """

    class_shares: np.ndarray
    rates: np.ndarray
    pooled: np.ndarray
    iterations: int
    converged: bool

    def posteriors(self, items: np.ndarray, people: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """Return the probability of each class of each item, [I, K].

        Args:
            items: The item of each judgement, ascending from 0 without gaps, [J].
            people: The person of each judgement; -1 for one who is not in `rates`, [J].
            choices: The class that was chosen, [J].
        """
        return _expect(
            self.class_shares, np.concatenate([self.rates, self.pooled[None]]), items, people, choices
        )[0]


def fit_error_rates(
    items: np.ndarray, people: np.ndarray, choices: np.ndarray, num_classes: int, mirrored: bool = False
) -> ErrorRates:
    """Return the estimates from judgements. Equal judgements in equal order give equal estimates.

    Args:
        items: The item of each judgement, ascending from 0 without gaps, [J].
        people: The person of each judgement, from 0 without gaps, [J].
        choices: The class that was chosen, from 0, [J].
        num_classes: The number of classes K.
        mirrored: Whether class k of an item is class K-1-k of the item in the other order, as of two compared
            answers. Both orders then have the same rates.
    """
    num_items, num_people = int(items[-1]) + 1, int(people.max()) + 1
    # The first estimates are the shares of the votes, as in the paper.
    posteriors = np.zeros((num_items, num_classes))
    np.add.at(posteriors, (items, choices), 1.0)
    posteriors /= posteriors.sum(1, keepdims=True)
    before, iterations, converged = -np.inf, 0, False
    while True:
        shares = _normalize(_mirror(posteriors.sum(0), mirrored) + PRIOR)
        counts = _count(posteriors, items, people, choices, num_people, mirrored)
        rates = _normalize(counts + PRIOR)
        if converged or iterations == MAX_ITERATIONS:
            return ErrorRates(shares, rates, _normalize(counts.sum(0) + PRIOR), iterations, converged)
        posteriors, likelihood = _expect(shares, rates, items, people, choices)
        # EM raises the posterior density, of which the prior's logarithm is a part.
        density = (likelihood + PRIOR * (np.log(shares).sum() + np.log(rates).sum())) / len(items)
        converged = bool(density - before < TOLERANCE)
        before, iterations = density, iterations + 1


def _count(
    posteriors: np.ndarray, items: np.ndarray, people: np.ndarray, choices: np.ndarray, num_people: int,
    mirrored: bool,
) -> np.ndarray:  # fmt: skip
    """Return the expected number of judgements by person, true class and chosen class, [P, K, K]."""
    classes = posteriors.shape[1]
    cells = people * classes + choices
    counts = np.stack(
        [np.bincount(cells, posteriors[items, true], num_people * classes) for true in range(classes)]
    )
    counts = counts.reshape(classes, num_people, classes).transpose(1, 0, 2)
    return counts + counts[:, ::-1, ::-1] if mirrored else counts


def _expect(
    shares: np.ndarray, rates: np.ndarray, items: np.ndarray, people: np.ndarray, choices: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the probability of each class of each item, [I, K], and the log-likelihood of all judgements."""
    starts = np.flatnonzero(np.diff(items, prepend=-1))
    logs = np.log(shares) + np.add.reduceat(np.log(rates)[people, :, choices], starts)
    # The largest is taken out, so that the exponentials of many judgements do not vanish.
    largest = logs.max(1, keepdims=True)
    raised = np.exp(logs - largest)
    totals = raised.sum(1, keepdims=True)
    return raised / totals, float((np.log(totals) + largest).sum())


def _mirror(counts: np.ndarray, mirrored: bool) -> np.ndarray:
    return counts + counts[::-1] if mirrored else counts


def _normalize(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(-1, keepdims=True)
