"""A file whose scores change their scale midway is asked about, and no other."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from model.errors import UserError
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.values.scale_changes import ScaleChanges
from tests.tasks.data.values.test_file_scales import counted_files


def spread(least: int, most: int, count: int, seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [float(draw.randint(least, most)) for _ in range(count)]


def ask(*parts: Sequence[float]) -> list[str]:
    """Return the question about one file whose scores come in parts."""
    whole, line = ScaleChanges(), 1
    for part in parts:
        found = ScaleChanges()
        for score in part:
            line += 1
            found.note("helpfulness", f"a.csv, line {line}", [score])
        whole.update(found)
    return whole.questions("rating")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (spread(1, 5, 100) + spread(0, 100, 100), "up to 5 before and up to 100 after week1.csv, line 10"),
        (spread(1, 5, 100) + spread(1, 10, 100), "up to 5 before and up to 10 after week1.csv, line 10"),
        (spread(1, 10, 100) + spread(0, 100, 200), "up to 10 before and up to 100 after week1.csv, line 10"),
        (spread(0, 100, 100) + spread(1, 5, 100), "before and up to 5 after week1.csv, line"),
        (spread(1, 5, 12) + spread(10, 100, 12), "up to 5 before"),
    ],
)
def test_check_scale_that_changes_asks_with_its_place(scores: list[float], said: str) -> None:
    tally = counted_files(scores)
    with pytest.raises(UserError, match="which may be two scales") as refused:
        tally.check("mine")
    assert said in str(refused.value) and "fields: {rating: verdict}" in str(refused.value)
    counted_files(scores, fields={"rating": "verdict"}).check("mine", {"rating": "verdict"})


@pytest.mark.parametrize("cut", [0, 1, 50, 99, 100, 101, 150, 199])
def test_questions_parts_of_a_file_ask_as_the_whole(cut: int) -> None:
    scores = spread(1, 5, 100) + spread(0, 100, 100)
    assert ask(scores[:cut], scores[cut:]) == ask(scores) != []
    backwards = scores[::-1]
    assert ask(backwards[:cut], backwards[cut:]) == ask(backwards) != []


@pytest.mark.parametrize(
    "scores",
    [
        spread(1, 5, 100) + spread(1, 6, 100),
        spread(1, 4, 100) + spread(0, 100, 100),
        sorted(spread(1, 10, 200)),
        sorted(spread(0, 100, 3000)),
        sorted(spread(0, 100, 3000), reverse=True),
        spread(1, 5, 100) + spread(6, 10, 100),
        [5.0, 3.0, 100.0, 90.0],
    ],
)
def test_check_ordered_or_short_scores_pass(scores: list[float]) -> None:
    tally = SkipCounts()
    tally.add(counted_files(scores))
    tally.check("mine")


@pytest.mark.parametrize(("least", "most"), [(1, 10), (0, 100), (0, 10), (1, 100)])
def test_questions_shuffled_column_is_asked_about_less_than_once_in_a_thousand(least: int, most: int) -> None:
    draw, asked = random.Random(most), 0
    for _ in range(2000):
        count = draw.randint(12, 80)
        # Some people give low scores more often.
        low = draw.random()
        scores = [float(draw.randint(least, 5 if draw.random() < low else most)) for _ in range(count)]
        draw.shuffle(scores)
        asked += bool(ask(scores))
    assert asked < 2
