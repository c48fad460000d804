"""Test the reading of choices between two answers by their words and numbers."""

from __future__ import annotations

import pytest

from tasks.data.values.choices import is_undecided, plain_choice


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("A", "a"), (" b ", "b"), ("response_b", "b"), ("Model A", "a"), ("answer 2", "b"), ("Option B", "b"),
        ("assistant_a", "a"), ("Tie", "tie"), ("equal", "tie"), ("gpt-4", "a"), ("Claude", "b"),
        ("left", "left"), ("1", "1"), ("cab", "cab"), ("Both bad", "tie"),
        ("tie (bothbad)", "tie"), ("Neither", "tie"), ("neither of them", "tie"),
    ],
)  # fmt: skip
def test_plain_choice_usual_spellings_are_read(value: str, says: str) -> None:
    assert plain_choice(value, {"a": "gpt-4", "b": "claude"}) == says


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("A is much better", "a"), ("Response B is slightly better", "b"), ("b is far better", "b"),
        ("A>B", "a"), ("B >> A", "b"), ("[[A>B]]", "a"), ("a<b", "b"), ("A=B", "tie"), ("A>A", "A>A"),
        ("=", "tie"), (" == ", "tie"), ("≈", "tie"), ("->", "->"),
        ("They are equally good", "tie"), ("Both are bad", "tie"), ("A is better than most",) * 2,
    ],
)  # fmt: skip
def test_plain_choice_statement_about_side_gives_side(said: str, choice: str) -> None:
    assert plain_choice(said, {}) == choice


@pytest.mark.parametrize(
    ("value", "a", "b", "choice"),
    [
        (0, "response_0", "response_1", "a"), ("1", "response_0", "response_1", "b"),
        ("response_1", "response_0", "response_1", "b"), (2.0, "Answer 1", "Answer 2", "b"),
        ("1.0", "output1", "output2", "a"), ("left", "reply_left", "reply_right", "a"),
        ("The second is better", "first", "second", "b"), ("model 1", "text_0", "text_1", "b"),
        ("B", "conversation_a", "conversation_b", "b"), (1, "a", "b", "1"),
        ("0", "response_a", "response_b", "0"),
        (3, "answer_1", "answer_2", "3"), ("left", "a", "b", "left"), ("1.5", "answer_1", "answer_2", "1.5"),
    ],
)  # fmt: skip
def test_plain_choice_number_or_word_of_the_columns_names_gives_side(
    value: object, a: str, b: str, choice: str
) -> None:
    assert plain_choice(value, {"a": a, "b": b}) == choice


@pytest.mark.parametrize(
    ("said", "undecided"),
    [
        ("skip", True), ("Skipped", True), ("unsure", True), ("not sure", True), ("can't tell", True),
        ("Don\u2019t know", True), ("cannot judge", True), ("Hard to say", True), ("?", True), ("--", True),
        ("weiss nicht", True), ("Weiß nicht.", True), ("WEISS NICHT", True), ("keine Ahnung", True),
        ("Je ne sais pas", True), ("pas sûr", True), ("no sé", True), ("No se", True), ("não sei", True),
        ("non so", True), ("weet niet", True), ("не знаю", True), ("不知道", True), ("わからない", True),
        ("모르겠음", True), ("übersprungen", True), ("weiß ist besser", False), ("unentschieden", False),
        ("a", False), ("not A", False), ("invalid", False), ("good", False), ("tie", False), ("B?", False),
    ],
)  # fmt: skip
def test_is_undecided_words_for_no_decision(said: str, undecided: bool) -> None:
    assert is_undecided(said) is undecided


@pytest.mark.parametrize(
    "said", ["nessuna idea", "Ninguna idea", "nenhuma ideia", "Nessuna opinione", "aucun avis"]
)
def test_plain_choice_no_idea_in_another_language_is_no_tie(said: str) -> None:
    # The words for none alone are a tie.
    assert plain_choice(said, {}) == said and is_undecided(said)


@pytest.mark.parametrize("said", ["ex æquo", "Ex aequo", "aucune", "Keine", "nessuno", "égalité", "gelijk"])
def test_plain_choice_neither_in_another_language_is_a_tie(said: str) -> None:
    assert plain_choice(said, {}) == "tie"
    assert plain_choice(f"{said} Angabe", {}) != "tie" or said not in ("Keine", "aucune")
