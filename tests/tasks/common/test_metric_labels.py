"""Test the words that people read for the names of metrics."""

from __future__ import annotations

import pytest

from tasks.common.metric_labels import drift_words, metric_words, reason_words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vocabulary/text", "words: text"),
        ("labels/tone/film", "labels: tone, film"),
        ("agreement//film", "agreement: film"),
        ("labels/a%2Fb/film", "labels: a/b, film"),
        ("later/text", "later: text"),
        ("later", "later"),
    ],
)
def test_drift_words_are_no_keys(name: str, words: str) -> None:
    assert drift_words(name) == words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("kl is 20, at most 12 is wanted", f"{metric_words('kl')} is 20, at most 12 is wanted"),
        ("ends_by_itself is 0.4, at least 0.9 is wanted", "ends by itself is 0.4, at least 0.9 is wanted"),
        (
            "judge_gain_low: -0.1; aligned_reward: 0.3",
            f"{metric_words('judge_gain_low')}: -0.1; {metric_words('aligned_reward')}: 0.3",
        ),
        ("loss_increase is 0.3", f"{metric_words('loss_increase')} is 0.3"),
    ],
)
def test_reason_words_names_become_labels(reason: str, words: str) -> None:
    assert reason_words(reason) == words


@pytest.mark.parametrize(
    "reason",
    [
        f"{metric_words('kl')}: 20, at most 12 is required",
        f"{metric_words('win_rate')}: 0.4, at least 0.5 is required by gate.min.win_rate",
        "it is version 3 of our_chat_model, which was rejected by ann_b",
        "the prompts and the questions are other ones; all 4 thresholds are met",
        "",
    ],
)
def test_reason_words_other_text_is_unchanged(reason: str) -> None:
    assert reason_words(reason) == reason
