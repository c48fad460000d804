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
    "success_rate", "heart rate", "How many birds?", "How old are you?", "#", "№", "%",
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


CODES = [
    "Q1",
    "Q01[SQ001]",
    "G01Q02",
    "v12",
    "VAR00003",
    "Frage 3",
    "column_5",
    "Unnamed: 3",
    "entry.123",
    "1",
]


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize(
    "said", [["A1", "A5", "A3"], ["Y", "N", ""], [1, 4, 5], ["x", "", ""], [True, False, True]]
)
def test_skip_counts_check_column_named_by_a_code_is_asked_about(name: str, said: list[Any]) -> None:
    pair = {"prompt": "Name a bird?", "completion": "A robin."}
    _, tally = read(*({**pair, "completion": f"Bird {n}.", name: said[n % 3]} for n in range(12)))
    with pytest.raises(UserError) as stopped:
        tally.check("mine", {})
    assert name in str(stopped.value) and "..." in str(stopped.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Q1", list(range(12))), ("Q1", ["A1"]), ("Q1", [f"Answer {n}" for n in range(6)]), ("n1", [1, 2]),
        ("h1", ["A long heading of more than forty letters, as texts have."]),
        ("layer3", [1, 2]), ("no", [1, 2]), ("lg", ["en", "de"]),
    ],
)  # fmt: skip
def test_skip_counts_check_other_short_names_are_not_asked_about(name: str, said: list[Any]) -> None:
    pair = {"prompt": "Name a bird?", "completion": "A robin."}
    _, tally = read(
        *(
            {**pair, "completion": f"Bird {n}.", name: said[n % len(said)]}
            for n in range(12 // (1 + len(said) // 6))
        )
    )
    tally.check("mine", {})


def test_skip_counts_check_codes_beside_texts_are_not_asked_about() -> None:
    _, tally = read(*({"text": f"Some words {n}.", "Q1": "AB"[n % 2]} for n in range(12)))
    tally.check("mine", {})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zufriedenheit", ["sehr", "gar nicht", "kaum"]), ("solved_it", ["not at all", "somewhat", "very"]),
        ("utilidad", ["muy", "nada", "poco"]), ("apport", ["très", "assez", "pas du tout"]),
    ],
)  # fmt: skip
def test_skip_counts_check_degrees_alone_are_asked_about(name: str, said: list[str]) -> None:
    _, tally = read(
        *({"prompt": f"Bird {n}?", "completion": "A robin.", name: one} for n, one in enumerate(said))
    )
    with pytest.raises(UserError, match=name):
        tally.check("mine", {})


@pytest.mark.parametrize("said", [["no", "so"], ["a", "b"], ["all", "some"], ["very old", "new"]])
def test_skip_counts_check_other_words_beside_degrees_are_not_asked_about(said: list[str]) -> None:
    rows = ({"prompt": f"Bird {n}?", "completion": "A robin.", "kind": one} for n, one in enumerate(said))
    read(*rows)[1].check("mine", {})
