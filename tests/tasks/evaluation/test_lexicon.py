"""The lexicon knows good from bad."""

from __future__ import annotations

from tasks.evaluation.lexicon import digest_lexicon, score_tone


def test_tone_is_ordered() -> None:
    bad, plain, good, empty = score_tone(["a dull, awful mess", "a film", "a beautiful, moving film", ""])
    assert -1 <= bad < plain < good <= 1
    assert plain == empty == 0


def test_its_digest_is_of_its_rules() -> None:
    assert len(digest_lexicon()) == 64 and digest_lexicon() == digest_lexicon()
