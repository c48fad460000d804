"""Test Dawid and Skene's estimates against crowd-kit's, a plain computation, and true error rates."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from tasks.data.labels import dawid_skene
from tasks.data.labels.dawid_skene import fit_error_rates


class Simulation(NamedTuple):
    truth: np.ndarray
    items: np.ndarray
    people: np.ndarray
    choices: np.ndarray

    @property
    def judgements(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.items, self.people, self.choices


def choosing(right: float, tie: float, tie_of_ties: float = 0.6) -> np.ndarray:
    """Return the rates of a person who finds the better of two answers this often."""
    worse, side = 1 - right - tie, (1 - tie_of_ties) / 2
    return np.array([[right, tie, worse], [side, tie_of_ties, side], [worse, tie, right]])


RANDOM = np.full((3, 3), 1 / 3)


def simulate(num_items: int, rates: list[np.ndarray], seed: int, ties: float = 0.25) -> Simulation:
    """Return the judgements of all people on all items."""
    random = np.random.default_rng(seed)
    classes = len(rates[0])
    shares = [(1 - ties) / 2, ties, (1 - ties) / 2] if classes == 3 else [1 / classes] * classes
    truth = random.choice(classes, num_items, p=shares)
    items = np.repeat(np.arange(num_items), len(rates))
    people = np.tile(np.arange(len(rates)), num_items)
    choices = np.array(
        [random.choice(classes, p=rates[who][truth[i]]) for i, who in zip(items, people, strict=True)]
    )
    return Simulation(truth, items, people, choices)


@pytest.mark.parametrize("mirrored", [True, False])
def test_fit_error_rates_recovers_true_rates(mirrored: bool) -> None:
    rates = [choosing(0.85, 0.1), choosing(0.7, 0.2), choosing(0.6, 0.05), RANDOM, choosing(0.2, 0.1)]
    made = simulate(4000, rates, seed=1)
    found = fit_error_rates(*made.judgements, 3, mirrored)
    assert found.converged
    assert np.abs(found.rates - np.array(rates)).max() < 0.05
    assert np.abs(found.class_shares - [0.375, 0.25, 0.375]).max() < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_fit_error_rates_random_people_count_less_than_in_majority(seed: int) -> None:
    rates = [choosing(0.85, 0.1), choosing(0.8, 0.1), choosing(0.75, 0.1), RANDOM, RANDOM]
    made = simulate(400, rates, seed, ties=0.1)
    votes = np.zeros((len(made.truth), 3))
    np.add.at(votes, (made.items, made.choices), 0.2)
    posteriors = fit_error_rates(*made.judgements, 3, True).posteriors(*made.judgements)
    decided = made.truth != 1

    def accuracy(classes: np.ndarray) -> float:
        wins = (classes @ [0, 0.5, 1])[decided].round(9)
        right = np.where(wins == 0.5, 0.5, (wins > 0.5) == (made.truth[decided] == 2))
        return float(right.mean())

    assert accuracy(posteriors) > accuracy(votes) + 0.02


def test_fit_error_rates_equal_those_of_crowd_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    aggregation = pytest.importorskip("crowdkit.aggregation")
    good = [choosing(0.9, 0.05, 0.8), choosing(0.85, 0.1, 0.8), choosing(0.7, 0.1, 0.8)]
    made = simulate(200, [*good, RANDOM], seed=3)
    # Without a prior both estimate the maximum of the likelihood.
    monkeypatch.setattr(dawid_skene, "PRIOR", 1e-9)
    monkeypatch.setattr(dawid_skene, "TOLERANCE", 1e-12)
    monkeypatch.setattr(dawid_skene, "MAX_ITERATIONS", 500)
    for mirrored in (False, True):
        items, people, choices = made.judgements
        found = fit_error_rates(items, people, choices, 3, mirrored)
        rows = pd.DataFrame({"task": items, "worker": people, "label": choices})
        if mirrored:
            # Each pair is also judged in the other order, which is what `mirrored` means.
            other = pd.DataFrame({"task": items + 1000, "worker": people, "label": 2 - choices})
            rows = pd.concat([rows, other])
        # All iterations: crowd-kit's bound falls a little at first, which would end it there.
        oracle = aggregation.DawidSkene(n_iter=80, tol=-1.0).fit(rows)
        wanted = oracle.probas_[[0, 1, 2]].sort_index().to_numpy()[:200]
        np.testing.assert_allclose(found.posteriors(items, people, choices), wanted, atol=1e-3)
        for person in range(4):
            rates = oracle.errors_.loc[person].sort_index()[[0, 1, 2]].to_numpy().T
            np.testing.assert_allclose(found.rates[person], rates, atol=1e-3)


def test_fit_error_rates_equal_plain_computation() -> None:
    made = simulate(30, [choosing(0.8, 0.1), choosing(0.6, 0.3), RANDOM], seed=5)
    given = [
        Counter({(int(p), int(c)): 1 for i, p, c in zip(*made.judgements, strict=True) if i == item})
        for item in range(30)
    ]
    votes = [Counter(c for _, c in item.elements()) for item in given]
    truth = [[vote[k] / vote.total() for k in range(3)] for vote in votes]
    found = fit_error_rates(*made.judgements, 3)
    # Each iteration estimates the truth, then the rates; the posteriors are of the last rates.
    for _ in range(found.iterations + 1):
        shares, rates = plain_maximization(truth, given)
        truth = [plain_expectation(item, shares, rates) for item in given]
    np.testing.assert_allclose(found.posteriors(*made.judgements), truth, atol=1e-6)


def plain_maximization(
    truth: list[list[float]], given: list[Counter[tuple[int, int]]]
) -> tuple[list[float], dict[tuple[int, int, int], float]]:
    shares = [(sum(item[k] for item in truth) + 1) / (len(truth) + 3) for k in range(3)]
    rates = {}
    for p in range(3):
        for k in range(3):
            counts = [1 + sum(t[k] * g[p, c] for t, g in zip(truth, given, strict=True)) for c in range(3)]
            rates |= {(p, k, c): counts[c] / sum(counts) for c in range(3)}
    return shares, rates


def plain_expectation(
    item: Counter[tuple[int, int]], shares: list[float], rates: dict[tuple[int, int, int], float]
) -> list[float]:
    each = [shares[k] for k in range(3)]
    for (p, c), n in item.items():
        each = [each[k] * rates[p, k, c] ** n for k in range(3)]
    return [value / sum(each) for value in each]


def test_fit_error_rates_turned_pairs_give_turned_probabilities() -> None:
    made = simulate(50, [choosing(0.8, 0.1), choosing(0.6, 0.3), RANDOM], seed=7)
    turned = np.where(made.items % 2 == 0, made.choices, 2 - made.choices)
    found = [
        fit_error_rates(made.items, made.people, choices, 3, True).posteriors(
            made.items, made.people, choices
        )
        for choices in (made.choices, turned)
    ]
    found[1][1::2] = found[1][1::2, ::-1]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_fit_error_rates_of_five_steps_are_recovered() -> None:
    def near(right: float) -> np.ndarray:
        rates = np.full((5, 5), (1 - right) / 4)
        np.fill_diagonal(rates, right)
        return rates

    made = simulate(4000, [near(0.9), near(0.7), near(0.5), near(0.2)], seed=2)
    found = fit_error_rates(*made.judgements, 5)
    assert np.abs(found.rates.diagonal(axis1=1, axis2=2) - [[0.9], [0.7], [0.5], [0.2]]).max() < 0.05


def test_posteriors_of_unknown_person_use_average_of_all() -> None:
    made = simulate(500, [choosing(0.85, 0.1), choosing(0.8, 0.1), choosing(0.75, 0.1)], seed=4)
    found = fit_error_rates(*made.judgements, 3, True)
    one = np.zeros(1, np.int64)
    chances = [found.posteriors(one, np.array([who]), np.array([2]))[0, 2] for who in (0, 2, -1)]
    assert chances[1] < chances[2] < chances[0] and chances[2] > 0.7


def test_fit_error_rates_stop_at_set_number_of_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dawid_skene, "MAX_ITERATIONS", 2)
    made = simulate(50, [choosing(0.6, 0.2), choosing(0.6, 0.2), RANDOM], seed=6)
    found = fit_error_rates(*made.judgements, 3, True)
    assert found.iterations == 2 and not found.converged
