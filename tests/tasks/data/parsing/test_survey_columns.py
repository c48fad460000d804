"""Test columns that answer surveys: a scale under a question, a symbol or a verb of rating."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Rating
from tests.tasks.data.parsing.row_reader import read

SCALE = (1, 2, 3, 4, 5)
ASKS = [
    "How would you rate the answer?", "Please rate the response", "Rate this answer", "rate", "user rate",
    "rate_1_5", "likert", "Likert 1-5", "★", "⭐", "❤", "Wie bewerten Sie die Antwort?", "Bitte bewerten",
    "¿Cómo valora la respuesta?", "Comment évaluez-vous la réponse ?", "Оцените ответ", "Rate Response 1",
    "この回答は役に立ちましたか", "回答怎么样？", "Was the answer clear?", "meta.rate",
    "How was your experience",
]  # fmt: skip
OTHERS = [
    "priority", "difficulty", "turn", "level", "scale", "interest_rate", "sample_rate", "rate_limit",
    "success_rate", "heart rate", "How many birds?", "How old are you?", "#", "№", "%", "what_if",
    "complexity", "urgency", "num_turns",
]  # fmt: skip


def rows(key: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Return pairs with the values under a key in turn."""
    outer, _, inner = key.partition(".") if " " not in key else (key, "", "")
    return [
        {
            "prompt": f"Name bird {n}.",
            "completion": f"Robin {n}.",
            outer: {inner: values[n % len(values)]} if inner else values[n % len(values)],
        }
        for n in range(10)
    ]


@pytest.mark.parametrize("values", [SCALE, ("0", "5", "10"), ("yes", "no"), ("good", "bad")])
@pytest.mark.parametrize("key", ASKS)
def test_skip_counts_check_answers_to_a_survey_are_asked_about(key: str, values: tuple[Any, ...]) -> None:
    with pytest.raises(UserError, match=r": (?:verdict|review)}"):
        read(*rows(key, values))[1].check("mine")
    found, _ = read(*rows(key, values), fields={key: "verdict"})
    assert len(found) == 10 and all(isinstance(one.row, Rating) for one in found)


@pytest.mark.parametrize("key", OTHERS)
def test_skip_counts_check_ordinary_numbers_are_not(key: str) -> None:
    read(*rows(key, SCALE))[1].check("mine")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("rate", (0.1, 0.25)), ("rate_plan", ("flex", "saver")), ("Urgent?", ("yes", "no")),
        ("Is the customer premium?", ("yes", "no")), ("was_translated_from_english", ("yes", "no")),
        ("has_more_than_one", (True, False)), ("color", ("red", "green")), ("icon", ("🍎", "🚗")),
        ("intent", ("declined_card_payment", "transfer")), ("category", ("rejected by bank", "fees")),
        ("direction", ("up", "down")), ("sentiment", ("positive", "negative")),
    ],
)  # fmt: skip
def test_skip_counts_check_ordinary_words_are_not(key: str, values: tuple[Any, ...]) -> None:
    read(*rows(key, values))[1].check("mine")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("rate", ("up", "down")), ("workflow", ("Approved by QA", "Returned to author")),
        ("status", ("rejected v1", "v1")), ("stage", ("sent back to writer", "published")),
        ("step", ("Abgelehnt von QA", "v2")), ("state", ("🟢", "🔴")), ("mark", ("👌", "✋")),
        ("x", ("❤", "💔")),
        ("qa_status", ("green", "amber", "red")), ("Ampel", ("grün", "rot")),
        ("La réponse était-elle utile ?", ("oui", "non")), ("¿Le ha servido?", ("sí", "no")),
    ],
)  # fmt: skip
def test_skip_counts_check_decisions_and_pictures_are_asked_about(key: str, values: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="looks like a verdict"):
        read(*rows(key, values))[1].check("mine")
