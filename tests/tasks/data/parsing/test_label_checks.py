"""Test ranks, margins and probabilities beside a choice, which must not contradict it."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.parsing.label_checks import chosen_side
from tests.tasks.data.parsing.row_reader import read

CHOSEN = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "No."}


def _choices(key: str, numbers: list[Any], said: str) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Name bird {n}.", "a": "A robin.", "b": "An owl.", "choice": choice, key: number}
        for n, (number, choice) in enumerate(zip(numbers, said, strict=True))
    ]


@pytest.mark.parametrize(
    "keys",
    [
        {"chosen_rank": 2, "rejected_rank": 1}, {"rank_chosen": "3", "rank_rejected": "1"},
        {"meta": {"chosen-ranking": 4, "rejected-ranking": 2}},
        {"rank of chosen": 2, "rank of rejected": 1.0},
    ],
)  # fmt: skip
def test_check_side_scores_larger_rank_of_chosen_cannot_be_read(keys: dict[str, Any]) -> None:
    _, tally = read({**CHOSEN, **keys})
    assert tally.faults == 1
    assert "so the rejected answer has the better rank" in tally.first_fault


@pytest.mark.parametrize(
    "keys", [{"chosen_rank": 1, "rejected_rank": 2}, {"chosen_loss": 2.5, "rejected_loss": 1.5}]
)
def test_check_side_scores_smaller_rank_or_larger_loss_of_chosen_is_read(keys: dict[str, Any]) -> None:
    rows, tally = read({**CHOSEN, **keys})
    assert tally.faults == 0
    assert rows[0].row.choice == "a"


def test_check_side_scores_equal_ranks_are_a_tie() -> None:
    rows, _ = read({**CHOSEN, "chosen_rank": 1, "rejected_rank": 1})
    assert rows[0].row.choice == "tie"


@pytest.mark.parametrize(
    "keys",
    [
        {"prob_chosen": 0.1}, {"chosen_probability": "30%"}, {"p_rejected": 0.8},
        {"preference_prob": 0.2}, {"meta": {"chosen win rate": 0.25}},
        {"prob_chosen": 0.3, "prob_rejected": 0.7},
    ],
)  # fmt: skip
def test_check_side_scores_improbable_choice_cannot_be_read(keys: dict[str, Any]) -> None:
    _, tally = read({**CHOSEN, **keys})
    assert tally.faults == 1
    assert "so the rejected answer is the better one by it" in tally.first_fault


@pytest.mark.parametrize(
    "keys",
    [
        {"prob_chosen": 0.9}, {"p_rejected": 0.2}, {"log_prob_chosen": 0.1}, {"logprob_chosen": -40.5},
        # The probabilities of two texts.
        {"prob_chosen": 0.001, "prob_rejected": 0.002}, {"language_probability": 0.2},
    ],
)  # fmt: skip
def test_check_side_scores_probable_choice_is_read(keys: dict[str, Any]) -> None:
    rows, tally = read({**CHOSEN, **keys})
    assert tally.faults == 0
    assert rows[0].row.choice == "a"
    tally.check("mine")


def test_check_side_scores_even_probability_is_a_tie() -> None:
    rows, _ = read({**CHOSEN, "prob_chosen": 0.5})
    assert rows[0].row.choice == "tie"


@pytest.mark.parametrize("key", ["delta", "diff", "gap", "chosen_minus_rejected", "strength"])
def test_note_margin_of_both_signs_beside_chosen_is_asked(key: str) -> None:
    _, tally = read({**CHOSEN, key: 2.5}, {**CHOSEN, key: -2.5})
    with pytest.raises(UserError, match=f"the key {key} is .*: ignore}}"):
        tally.check("mine")


@pytest.mark.parametrize("keys", [{"delta": 2.5}, {"length_delta": -3}, {"temperature": -2.5}])
def test_note_margin_of_one_sign_or_other_name_is_not_asked(keys: dict[str, Any]) -> None:
    _, tally = read({**CHOSEN, **keys}, {**CHOSEN, **keys, "prompt": "And another?"}, CHOSEN)
    tally.check("mine")


@pytest.mark.parametrize(
    ("key", "numbers", "said", "asked"),
    [
        # The sign of a strength that agrees with each choice says nothing against it. 0 is a tie.
        ("strength", [3, -3, 2, -1], "abab", False),
        ("strength", [3, -3, 0, -1], "abab", True),
        ("strength", [0, 1, 2, 3], "abab", False),
        ("intensity", [3, 3, -2, -1], "abab", True),
        ("delta", [2, 1, -2, -1], "abab", True),
        ("prob_a", [0.9, 0.2, 0.8, 0.1], "abab", False),
        ("prob_a", [0.9, 0.8, 0.2, 0.1], "abab", True),
        ("win_prob_b", [0.1, 0.8, 0.6, 0.9], "abab", True),
        ("prob", [0.9, 0.8, 0.2, 0.1], "abab", False),
    ],
)
def test_note_margin_beside_choice_is_asked_if_it_contradicts(
    key: str, numbers: list[Any], said: str, asked: bool
) -> None:
    _, tally = read(*_choices(key, numbers, said))
    assert (key in tally.asks()) is asked


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("prob_chosen", "chosen"), ("p_rejected", "rejected"), ("chosen win rate", "chosen"),
        ("P(A)", "a"), ("probability_that_b_wins", "b"), ("log_prob_chosen", ""), ("prob", ""),
        ("p value of a test", ""), ("prob_chosen_minus_rejected", ""),
    ],
)  # fmt: skip
def test_chosen_side_name_gives_side(name: str, side: str) -> None:
    assert chosen_side(name) == side
