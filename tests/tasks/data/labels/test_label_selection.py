"""The choice of items: the random share, the uncertain pairs, and known items among them."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.dataloader import seeded_rng
from tasks.data.labels.label_prompts import AskedPrompt
from tasks.data.labels.label_selection import (
    AnsweredPrompt,
    choose_items,
    hide_known,
    item_values,
    preference_deviation,
)
from tasks.labelling.batches import LabelItem

SPEAKERS = ("one", "two", "three")


def answered(number: int, spread: float, trains: bool = True) -> AnsweredPrompt:
    """Return a prompt on whose answers 1 and 3 the heads disagree by `spread`."""
    scores = np.array([[0.0] * 4, [0.0] * 4, [-spread, spread, -spread, spread]])
    answers = [f"{word} {number}" for word in ("yes it is", "no never", "perhaps")]
    return AnsweredPrompt(AskedPrompt(f"question {number}"), answers, scores, trains)


def test_preference_deviation_is_that_of_probabilities() -> None:
    margins = np.array([0.0, 1.0, -2.0, 800.0])
    expected = np.std([0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2)), 1.0])
    assert preference_deviation(margins, np.zeros(4)) == pytest.approx(expected)
    assert preference_deviation(np.ones(4), np.zeros(4)) == 0


def test_choose_items_takes_most_uncertain_pair_of_most_uncertain_prompts() -> None:
    prompts = [answered(n, n / 100) for n in range(40)]
    found = choose_items(prompts, SPEAKERS, 10, 0.3, 0.8, seeded_rng(1))
    reasons = {item.prompt: item.reason for item in found.items}
    # The first three are the random ones whatever their uncertainty.
    assert {prompt for prompt, reason in reasons.items() if reason == "random"} == {
        f"question {n}" for n in range(3)
    }
    assert {prompt for prompt, reason in reasons.items() if reason == "uncertain"} == {
        f"question {n}" for n in range(33, 40)
    }
    for item in found.items:
        if item.reason == "uncertain":
            assert "three" in (item.a_model, item.b_model)
    # Mixed, and in both orders.
    assert list(reasons.values()) != sorted(reasons.values())
    assert len({item.a_model for item in found.items}) > 1


def test_choose_items_held_out_prompts_are_never_uncertain() -> None:
    prompts = [answered(n, 1.0, trains=n % 5 == 0) for n in range(30)]
    found = choose_items(prompts, SPEAKERS, 20, 0.3, 0.8, seeded_rng(1))
    uncertain = [item.prompt for item in found.items if item.reason == "uncertain"]
    assert len(found.items) == 20
    assert all(int(prompt.split()[1]) % 5 == 0 for prompt in uncertain) and 1 <= len(uncertain) <= 4


def test_choose_items_leaves_out_and_counts_equal_and_similar_answers() -> None:
    long = "the film is very good and I would see it again with my friends on any day"
    prompts = [
        AnsweredPrompt(AskedPrompt("equal"), ["Yes.", "yes"]),
        AnsweredPrompt(AskedPrompt("similar"), [f"{long} of summer", f"{long} of winter"]),
        AnsweredPrompt(AskedPrompt("empty"), ["yes", " "]),
        AnsweredPrompt(AskedPrompt("fine"), ["yes", "no"]),
    ]
    found = choose_items(prompts, SPEAKERS, 4, 0.3, 0.8, seeded_rng(1))
    assert [(item.prompt, item.reason) for item in found.items] == [("fine", "random")]
    assert found.left_out == {"equal_answers": 1, "similar_answers": 1, "empty_answers": 1}


@pytest.mark.parametrize("answer", ["bell \x07", "broken \ufffd", "form \x0c feed"])
def test_choose_items_leaves_out_answers_that_validation_refuses(answer: str) -> None:
    prompts = [AnsweredPrompt(AskedPrompt("why"), [answer, "a plain one"])]
    found = choose_items(prompts, SPEAKERS, 1, 1.0, 0.9, seeded_rng(1))
    assert (found.items, found.left_out) == ([], {"unprintable_answers": 1})


def test_hide_known_keeps_right_answer_and_order_of_others() -> None:
    items = [LabelItem(f"q{n}", "x", "y", reason="random") for n in range(30)]
    known = [LabelItem(f"k{n}", "right", "wrong", reason="known", known_choice="a") for n in range(20)]
    mixed = hide_known(items, known, 10, seeded_rng(2))
    hidden = [item for item in mixed if item.reason == "known"]
    assert [item for item in mixed if item.reason != "known"] == items
    assert len(hidden) == 10 == len({item.prompt for item in hidden})
    assert {item.known_choice for item in hidden} == {"a", "b"}
    assert all(getattr(item, item.known_choice) == "right" for item in hidden)
    assert mixed != hide_known(items, known, 10, seeded_rng(3))
    assert "history" not in item_values(items[0]) and item_values(hidden[0])["known_choice"] in ("a", "b")
