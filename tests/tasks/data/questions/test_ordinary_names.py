"""Test that a name counts as ordinary only if no rule about names could match it."""

from __future__ import annotations

import pytest

from tasks.data.parsing import unread_keys
from tasks.data.questions.ordinary_names import is_ordinary_name
from tasks.data.verdicts.correction_names import looks_like_correction
from tasks.data.verdicts.mark_columns import marks_removal
from tasks.data.verdicts.verdict_names import looks_like_failure, looks_like_verdict
from tasks.data.verdicts.verdict_phrases import asks_opinion
from tasks.data.verdicts.verdict_values import named_as_verdict
from tests.tasks.data.parsing.row_reader import read

VALUES = (True, False, 1, 0, 404, "x", "yes", "no", "length", "unsure", "some other words", "a", "2 of 5")
NAMES = (
    "kto_tag", "bewertung", "note", "is_hallucinated", "opt_out", "loss_mask", "best_of",
    "finish_reason", "http_status", "refusal", "error.message", "edited_answer", "better_answer",
    "merged_into", "rejected_by", "did_this_help_you", "schlecht", "verwijderen", "ta_bort", "score_1_best",
    "lower_is_better", "reactions.count", "answer", "confidence", "picked", "status",
)  # fmt: skip
ORDINARY = ("k17_3", "color", "user.address.city", "sku_8841", "height_cm", "author_notes_2", "colour_blue")


def _matches(name: str) -> bool:
    return any(
        looks_like_verdict(name, value)
        or looks_like_failure(name, value)
        or looks_like_correction(name, value)
        or marks_removal(name, value)
        or asks_opinion(name, value)
        or any(named_as_verdict(part, value) for part in name.split("."))
        for value in VALUES
    )


@pytest.mark.parametrize("name", NAMES)
def test_is_ordinary_name_word_of_a_rule_is_not_ordinary(name: str) -> None:
    assert _matches(name)
    assert not is_ordinary_name(name)
    assert not is_ordinary_name(f"meta_2.{name}_1")


@pytest.mark.parametrize("name", ORDINARY)
def test_is_ordinary_name_other_words_match_no_rule(name: str) -> None:
    assert is_ordinary_name(name)
    assert not _matches(name)


@pytest.mark.parametrize("name", ["Color", "color?", "farbe (1 = rot)", "größe", "isSpam"])
def test_is_ordinary_name_other_spellings_are_examined(name: str) -> None:
    assert not is_ordinary_name(name)


@pytest.mark.parametrize("value", ["reject", "birds, rejected", ["do_not_use"], "👎"])
def test_count_unread_verdict_under_an_ordinary_name_is_asked(value: object) -> None:
    _, tally = read({"text": "Some words.", "k17_3": value}, {"text": "Other words.", "k17_3": "birds"})
    assert tally.asked["k17_3"].looks == unread_keys.VERDICT


def test_count_unread_rows_with_keys_of_their_own_are_all_counted() -> None:
    rows = [{"text": f"Text {i}.", **{f"k{i}_{k}": "rejected" if i + k == 70 else k for k in range(20)}}
            for i in range(60)]  # fmt: skip
    _, tally = read(*rows)
    assert sum(seen.count for seen in tally.unread.values()) == 60 * 20
    assert sum(seen.count for seen in tally.asked.values()) == 9
