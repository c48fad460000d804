"""Test which end of a scale is the good one by the name of its column, and what is asked about it."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Rating
from tasks.data.values.scale_direction import HIGHER, LOWER, scale_direction
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a tree.", "completion": "An oak."}


@pytest.mark.parametrize(
    ("name", "values", "direction"),
    [
        ("Urteil (1 = hervorragend)", "1236", LOWER),
        ("quality_1_best", "123", LOWER),
        ("Rating (best = 1, worst = 7)", "27", LOWER),
        ("grade: lower is better", "5", LOWER),
        ("Wie gut? 1 = sehr gut … 6 = ungenügend", "24", LOWER),
        ("valoración (0 = excelente)", "013", LOWER),
        ("評価 (1 = 最高)", "135", LOWER),
        ("Rang (niedrig ist besser)", "12", LOWER),
        ("Urteil (1 = mangelhaft)", "1236", HIGHER),
        ("avis (20 = excellent)", ["12", "19"], HIGHER),
        ("rating 1 (poor) to 7 (great)", "37", HIGHER),
        ("helpful (0 = bad, 1 = good)", "01", HIGHER),
        ("rating (1 = good)", "01", HIGHER),
        ("points, higher is better", "3", HIGHER),
        ("rating", "123", ""),
        ("best of 3", "123", ""),
        ("gpt-4 good", "01", ""),
        ("rating (1 = left, 5 = right)", "135", ""),
        ("rating (3 = good)", "135", ""),
        ("rating (1 = good)", "1", ""),
    ],
)
def test_scale_direction_of_name(name: str, values: str | list[str], direction: str) -> None:
    assert scale_direction(name, values) == direction


@pytest.mark.parametrize(
    ("key", "meaning"),
    [
        ("Bewertung (1 = beste, 5 = schlechteste)", "penalty"),
        ("How was it? (1 = excellent)", "penalty"),
        ("appréciation (1 = mauvais)", "verdict"),
        ("rating (5 = superb)", "verdict"),
    ],
)
def test_scale_direction_decides_proposal(key: str, meaning: str) -> None:
    rows = [{**PAIR, "prompt": f"Name tree {n}.", key: n} for n in (1, 2, 5)]
    _, tally = read(*rows)
    with pytest.raises(UserError) as asked:
        tally.check("mine")
    direction = LOWER if meaning == "penalty" else HIGHER
    assert f'fields: {{"{key}": {meaning}}}, as its name says that {direction}' in str(asked.value)
    found, tally = read(*rows, fields={key: meaning})
    tally.check("mine", {key: meaning})
    scores = [one.row.scores[0] for one in found if isinstance(one.row, Rating)]
    assert len(scores) == 3 and (scores == sorted(scores)) is (meaning == "verdict")


@pytest.mark.parametrize(
    "key", ["Grade (1 = best)", "score (0 = perfect, 10 = awful)", "Note (1 = sehr gut)"]
)
def test_scale_direction_of_column_that_is_the_score_is_asked(key: str) -> None:
    rows = [{**PAIR, "prompt": f"Name tree {n}.", key: n} for n in (0, 1, 6)]
    columns = {"score": key}
    _, tally = read(*rows[1:], columns=columns, format="rows")
    with pytest.raises(UserError, match="lower is better"):
        tally.check("mine")
    found, tally = read(*rows[1:], columns=columns, fields={key: "penalty"}, format="rows")
    tally.check("mine", {key: "penalty"})
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[-1.0], [-6.0]]


@pytest.mark.parametrize(
    ("key", "values"), [("Note", [1, 6]), ("noten", ["2", "3"]), ("Note Antwort", [1.3, 2])]
)
def test_propose_meaning_note_may_have_either_direction(key: str, values: list[Any]) -> None:
    _, tally = read(*({**PAIR, "prompt": f"Name tree {n}.", key: n} for n in values))
    assert tally.propose(key, "a verdict") == "..."
