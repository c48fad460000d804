"""Test the lexicon that scores the tone of a text."""

from __future__ import annotations

from tasks.evaluation.lexicon import digest_lexicon, score_tone


def test_score_tone_orders_bad_plain_and_good() -> None:
    bad, plain, good, empty = score_tone(["a dull, awful mess", "a film", "a beautiful, moving film", ""])
    assert -1 <= bad < plain < good <= 1
    assert plain == empty == 0


def test_digest_lexicon_is_stable() -> None:
    assert len(digest_lexicon()) == 64 and digest_lexicon() == digest_lexicon()
