"""Test the aggregation of judgements: shares, error rates, and what has no such rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tasks.data.labels.judgements import Judgements, canonical_choice, rating_subject, tabulate_judgements
from tasks.data.labels.label_aggregation import aggregate_comparisons, aggregate_ratings
from tasks.data.labels.ratings import DAWID_SKENE, MAJORITY
from tasks.data.records import Choice, Comparison, Rating, comparison_row, rating_row

TURNED: dict[Choice, Choice] = {"a": "b", "tie": "tie", "b": "a"}


def compared(number: int, choice: Choice, who: str, turned: bool = False) -> Comparison:
    """Return a choice between the good answer `a` and the bad answer `b`, perhaps shown the other way."""
    sides = (f"good {number}", f"bad {number}")
    shown, chosen = (sides[::-1], TURNED[choice]) if turned else (sides, choice)
    return comparison_row(f"question {number}", *shown, chosen, "tone", who, "chat", f"{number}")


def collect(rows: Sequence[Comparison | Rating]) -> Judgements:
    judgements = Judgements()
    for row in rows:
        if isinstance(row, Rating):
            judgements.add_rating(row)
        else:
            judgements.add_comparison(vars(row))
    return judgements


def chance_of_good(rows: Sequence[Comparison], number: int, method: str = MAJORITY) -> float:
    found = aggregate_comparisons({"train": collect(rows)}, method)
    about = canonical_choice(vars(compared(number, "a", "x")))
    wins = found.estimates["train"][about.subject]
    return round(1 - wins if about.turned else wins, 6)


def rated(number: int, scores: dict[str, float]) -> Rating:
    return rating_row(
        "p", f"answer {number}", list(scores.values()), list(scores), "tone", "film", f"{number}"
    )


@pytest.mark.parametrize(
    ("choices", "share"),
    [
        (["a"], 1.0), (["b"], 0.0), (["tie"], 0.5), (["a", "a", "b"], 0.666667), (["a", "tie"], 0.75),
        (["a", "b"], 0.5), (["b", "b", "b"], 0.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_aggregate_comparisons_majority_is_share_in_any_order(
    choices: list[Choice], share: float, turned: bool
) -> None:
    rows = [compared(1, each, f"p{i}", turned and i % 2 == 0) for i, each in enumerate(choices)]
    assert chance_of_good(rows, 1) == share
    assert chance_of_good(rows[::-1], 1) == share


def crowd(seed: int, count: int = 300) -> list[Comparison]:
    """Return the choices of three good people and two who choose at random."""
    random = np.random.default_rng(seed)
    chances = {"ana": 0.9, "ben": 0.85, "cleo": 0.8, "dan": 0.5, "eve": 0.5}
    return [
        compared(i, "a" if random.random() < chance else "b", who, turned=bool(random.random() < 0.5))
        for i in range(count)
        for who, chance in chances.items()
    ]


def test_aggregate_comparisons_dawid_skene_beats_majority_with_random_people() -> None:
    rows, right = crowd(seed=1), {}
    for method in (MAJORITY, DAWID_SKENE):
        found = aggregate_comparisons({"train": collect(rows)}, method).estimates["train"]
        about = {
            row.prompt: canonical_choice(vars(row))
            for row in map(lambda i: compared(i, "a", "x"), range(300))
        }
        wins = [1 - found[each.subject] if each.turned else found[each.subject] for each in about.values()]
        right[method] = np.mean([win > 0.5 for win in wins])
    assert right[DAWID_SKENE] > right[MAJORITY] + 0.02


def test_aggregate_comparisons_error_rates_find_random_people() -> None:
    found = aggregate_comparisons({"train": collect(crowd(seed=2, count=1500))}, DAWID_SKENE)
    better = {row["annotator"]: row["better"] for row in found.annotators["tone/chat"]}
    wanted = {"ana": 0.9, "ben": 0.85, "cleo": 0.8, "dan": 0.5, "eve": 0.5}
    assert better == pytest.approx(wanted, abs=0.05)
    assert all(row["judgements"] == 1500 for row in found.annotators["tone/chat"])


def test_aggregate_comparisons_held_out_labels_change_no_error_rates() -> None:
    rows = crowd(seed=3)
    parts = {"train": collect(rows[:900]), "test": collect(rows[900:])}
    alone, both = (aggregate_comparisons(each, DAWID_SKENE) for each in ({"train": parts["train"]}, parts))
    assert alone.annotators == both.annotators
    assert dict(alone.estimates["train"]) == dict(both.estimates["train"])
    assert len(both.estimates["test"]) == 120


def test_aggregate_comparisons_same_rows_in_any_order_give_equal_numbers() -> None:
    rows = crowd(seed=4, count=60)
    mixed = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    one, other = (aggregate_comparisons({"train": collect(each)}, DAWID_SKENE) for each in (rows, mixed))
    assert dict(one.estimates["train"]) == dict(other.estimates["train"])
    assert one.annotators == other.annotators


def test_aggregate_comparisons_single_judgements_stay_certain_and_are_told() -> None:
    rows = [compared(i, "a", "ana") for i in range(20)] + [compared(30, "tie", "ben")]
    found = aggregate_comparisons({"train": collect(rows)}, DAWID_SKENE)
    assert chance_of_good(rows, 3, DAWID_SKENE) == 1.0 and chance_of_good(rows, 30, DAWID_SKENE) == 0.5
    assert (
        found.annotators == {}
        and "tone (chat): nothing in the training labels was judged twice" in found.notes[0]
    )


def test_tabulate_judgements_unnamed_people_are_one_and_named_ones_are_not() -> None:
    rows = [compared(1, "a", who) for who in ("unknown-0", "unknown-1", "", "ana", "ben\u200b", "ben")]
    table = tabulate_judgements("tone/chat", [collect(rows)])
    assert table.names == ("", "ana", "ben")
    assert np.bincount(table.people).tolist() == [3, 1, 2] and table.counts.tolist() == [6]


def test_aggregate_ratings_majority_leaves_the_mean() -> None:
    found = aggregate_ratings({"train": collect([rated(1, {"ana": 1.0, "ben": 5.0})])}, MAJORITY)
    assert len(found.estimates["train"]) == 0 and not found.notes


def test_aggregate_ratings_dawid_skene_expected_score_follows_reliable_people() -> None:
    random = np.random.default_rng(5)
    steps, rows, truth = [1.0, 2.0, 3.0, 4.0, 5.0], [], random.integers(0, 5, 1200)
    for i, true in enumerate(truth):
        given = {
            who: steps[int(true) if random.random() < chance else int(random.integers(0, 5))]
            for who, chance in (("ana", 0.9), ("ben", 0.8), ("cleo", 0.7), ("eve", 0.0))
        }
        rows.append(rated(i, given))
    found = aggregate_ratings({"train": collect(rows)}, DAWID_SKENE)
    scores = [found.estimates["train"][rating_subject(vars(row))] for row in rows]
    error, plain = (
        np.abs(np.array(each) - truth - 1).mean() for each in (scores, [row.score for row in rows])
    )
    assert error < 0.5 * plain and all(1 <= score <= 5 for score in scores)
    same = {row["annotator"]: row["same"] for row in found.annotators["tone/film"]}
    # People who answer at random are right one time in five.
    assert same == pytest.approx({"ana": 0.92, "ben": 0.84, "cleo": 0.76, "eve": 0.2}, abs=0.05)


def test_aggregate_ratings_of_fine_scale_keep_the_mean_and_are_told() -> None:
    rows = [rated(i, {"ana": i / 10, "ben": i / 10 + 0.1}) for i in range(8)]
    found = aggregate_ratings({"train": collect(rows)}, DAWID_SKENE)
    assert len(found.estimates["train"]) == 0
    assert "tone (film): the scores have 10 different values, more than 7" in found.notes[0]
