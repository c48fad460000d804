"""Test the agreement of two people at a time against krippendorff's and scikit-learn's computations."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tasks.data.labels import people_agreement
from tasks.data.labels.judgements import Judgements, JudgementTable, tabulate_judgements
from tasks.data.labels.people_agreement import agreement_by_pair
from tasks.data.records import rating_row


def judged(given: dict[str, list[float | None]]) -> JudgementTable:
    """Return a table of the scores that each person gave to the answers, None for no score."""
    judgements = Judgements()
    for number in range(len(next(iter(given.values())))):
        scores = {who: values[number] for who, values in given.items()}
        kept = {who: score for who, score in scores.items() if score is not None}
        judgements.add_rating(
            rating_row("p", f"answer {number}", list(kept.values()), list(kept), "tone", "film", f"{number}")
        )
    return tabulate_judgements("tone/film", [judgements])


def random_scores(seed: int, people: int = 4, items: int = 40) -> dict[str, list[float | None]]:
    random = np.random.default_rng(seed)
    truth = random.integers(1, 4, items)
    return {
        f"person {who}": [
            None if random.random() < 0.3 else float(true if random.random() < 0.6 else random.integers(1, 4))
            for true in truth
        ]
        for who in range(people)
    }


def test_agreement_by_pair_known_scores_match_hand_calculation() -> None:
    given: dict[str, list[float | None]] = {
        "ana": [1, 0, 1, 1, None],
        "ben": [1, 0, 0, 1, 1],
        "cleo": [None] * 4 + [1],
    }
    found, left_out = agreement_by_pair(judged(given), False)
    assert [pair["people"] for pair in found] == [["ana", "ben"], ["ben", "cleo"]] and left_out == 0
    first, second = found
    # Three of four are equal. All eight scores are 1,0,1,1,1,0,0,1: of 56 ordered pairs, 30 differ.
    assert (first["items"], first["same"]) == (4, 0.75)
    assert first["alpha"] == pytest.approx(1 - (2 / 8) / (30 / 56), abs=1e-4)
    assert first["interval"][0] < 0.75 < first["interval"][1] <= 1
    assert (second["items"], second["same"], second["alpha"]) == (1, 1.0, 1.0)


@pytest.mark.parametrize("chunk", [1_000_000, 7])
def test_agreement_by_pair_equals_krippendorff_of_two(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    monkeypatch.setattr(people_agreement, "_CHUNK", chunk)
    given = random_scores(seed=1)
    found = {tuple(pair["people"]): pair for pair in agreement_by_pair(judged(given), False)[0]}
    assert len(found) == 6
    for one, other in combinations(given, 2):
        both = [
            (a, b) for a, b in zip(given[one], given[other], strict=True) if a is not None and b is not None
        ]
        pair = found[one, other]
        assert pair["items"] == len(both)
        assert pair["same"] == pytest.approx(np.mean([a == b for a, b in both]), abs=1e-4)
        wanted = krippendorff.alpha(np.array(both).T, level_of_measurement="interval")
        assert pair["alpha"] == pytest.approx(wanted, abs=1e-4)


def test_agreement_by_pair_mirrored_equals_krippendorff_of_both_orders() -> None:
    krippendorff = pytest.importorskip("krippendorff")
    given: dict[str, list[float | None]] = {"ana": [1, 1, 1, -1, 0, 1, 1], "ben": [1, 1, 1, 1, 1, 0, 1]}
    [pair] = agreement_by_pair(judged(given), True)[0]
    both = np.array(list(given.values()), float)
    wanted = krippendorff.alpha(np.hstack([both, -both]), level_of_measurement="interval")
    assert pair["alpha"] == pytest.approx(wanted, abs=1e-4)


def test_agreement_by_pair_people_without_name_are_in_no_pair() -> None:
    found, left_out = agreement_by_pair(judged({"ana": [1, 2], "unknown-1": [1, 2], "ben": [2, 2]}), False)
    assert [pair["people"] for pair in found] == [["ana", "ben"]] and left_out == 0


def test_agreement_by_pair_keeps_most_active_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_agreement, "MOST_PEOPLE", 2)
    found, left_out = agreement_by_pair(
        judged({"ana": [1, 2, 3], "ben": [1, None, None], "cleo": [1, 2, None]}), False
    )
    assert [pair["people"] for pair in found] == [["ana", "cleo"]] and left_out == 1


def test_agreement_by_pair_nothing_in_common_is_empty() -> None:
    assert agreement_by_pair(judged({"ana": [1, None], "ben": [None, 1]}), False) == ([], 0)
