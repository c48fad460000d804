"""Scores of answers against references."""

from __future__ import annotations

import pytest

from model.inference.scoring import best_f1, exact_match, normalise_answer


def test_answer_scores_follow_squad_rules() -> None:
    assert normalise_answer("The  Quick, brown fox!") == "quick brown fox"
    assert exact_match("an Apple.", ["apple", "pear"]) == 1
    assert exact_match("apples", ["apple"]) == 0
    assert best_f1("the red apple", ["green apple", "red apple pie"]) == pytest.approx(2 * 2 / 5)
    assert best_f1("", ["apple"]) == 0
    assert best_f1("apple", []) == 0
