"""The similarity of short texts, and repeated texts."""

from __future__ import annotations

import pytest

from tasks.data.similar_texts import SeenTexts, text_similarity


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("The film is good.", "the FILM is good", 1, 1),
        ("The film is good and I liked it a lot", "The film is good and I loved it a lot", 0.6, 0.8),
        ("The film is good", "A quiet scene", 0, 0),
        ("好的电影", "好的电影", 1, 1),
        ("!!!", "???", 0, 0),
        ("", "", 1, 1),
    ],
)
def test_text_similarity_counts_shared_words_and_pairs(one: str, other: str, low: float, high: float) -> None:
    assert low <= text_similarity(one, other) <= high


def test_text_similarity_order_of_words_counts() -> None:
    assert text_similarity("dog bites man", "man bites dog") < 1


def test_seen_texts_finds_similar_earlier_text() -> None:
    seen = SeenTexts(0.7)
    told = [
        seen.is_repeated(text)
        for text in (
            "please write a short story about the sea and the wind",
            "please write a short poem about love",
            "Please write a short story about the sea and the wind!",
            "please write a short story about the sea and the winds",
        )
    ]
    assert told == [False, False, True, True]


def test_seen_texts_at_one_finds_equal_words_alone() -> None:
    seen = SeenTexts(1.0)
    told = [seen.is_repeated(text) for text in ("a b c d e f g h", "a b c d e f g i", "A b c d e f g h.")]
    assert told == [False, False, True]
