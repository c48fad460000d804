"""Test that no proposal turns a flag, points off or a reaction against an answer into praise."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tasks.data.questions.choice_mapping import UNKNOWN
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Pair, Rating
from tasks.data.verdicts.negative_names import speaks_against
from tests.tasks.data.parsing.row_reader import read


def rows(**columns: list[Any]) -> list[dict[str, Any]]:
    """Return twelve pairs, of which each column repeats its values."""
    return [
        {"prompt": f"Name bird {n}.", "completion": f"Robin {n}."}
        | {key: values[n % len(values)] for key, values in columns.items()}
        for n in range(12)
    ]


def proposed(given: list[dict[str, Any]]) -> tuple[dict[str, Any], SkipCounts]:
    """Return the meanings that are proposed for rows, as a preset reads them."""
    tally = read(*given)[1]
    meanings = tally.propose_all(tally.asks())
    return {path: said if said == UNKNOWN else yaml.safe_load(said) for path, said in meanings.items()}, tally


FLAGS = [("Yes", "No"), ("TRUE", "FALSE"), ("Yes", ""), (True, False)]


@pytest.mark.parametrize(("yes", "no"), FLAGS)
@pytest.mark.parametrize(
    ("key", "score"),
    [
        ("Auto-Fail", ["70%", "90%", "100%"]), ("Compliance Fail", ["1", "4", "5"]),
        ("Wrong info given", ["1", "4", "5"]), ("Rejected by QA", [2, 4, 5]), ("Bad answer", [2, 4, 5]),
    ],
)  # fmt: skip
def test_propose_all_flag_against_row_beside_score_removes_it(
    key: str, score: list[Any], yes: Any, no: Any
) -> None:
    given = rows(**{key: [yes, no, no], "Overall": score})
    fields, _ = proposed(given)
    assert fields[key] != "review" and fields["Overall"] == "verdict"
    found, tally = read(*given, fields=fields)
    tally.check("mine", fields)
    assert sorted(int(one.row.completion[6:-1]) for one in found if isinstance(one.row, Rating)) == [
        n for n in range(12) if n % 3
    ]


@pytest.mark.parametrize("key", ["Useful", "Approved by lead", "Correct"])
def test_propose_all_flag_for_row_beside_score_is_a_review(key: str) -> None:
    fields, _ = proposed(rows(**{key: ["No", "Yes", "Yes"], "Overall": ["1", "4", "5"]}))
    assert fields[key] == "review" and not speaks_against(key)


@pytest.mark.parametrize("name", ["harassment", "hate/threatening", "illicit"])
@pytest.mark.parametrize("flags", [[False], [True, False, False]])
def test_propose_all_flag_of_moderation_keeps_clean_rows(name: str, flags: list[bool]) -> None:
    given = rows(openai_moderation=[{"categories": {name: flag}} for flag in flags])
    fields, _ = proposed(given)
    assert set(fields.values()) <= {"deleted"}
    found, _ = read(*given, fields=fields)
    assert len(found) == 12 - 4 * any(flags) and all(isinstance(one.row, Pair) for one in found)


@pytest.mark.parametrize(
    "key",
    [
        "Points deducted", "Points lost", "Points off", "Points de pénalité", "Non-critical errors",
        "Penalty", "Total deductions", "Missed steps", "Nombre de fautes", "Strafpunkte", "Marks lost",
        "Puntos perdidos",
    ],
)  # fmt: skip
def test_propose_all_points_off_are_a_penalty(key: str) -> None:
    given = rows(**{key: [10, 0, 0]})
    fields, _ = proposed(given)
    assert fields == {key: "penalty"}
    found, tally = read(*given, fields=fields)
    tally.check("mine", fields)
    scores = {one.row.completion: one.row.score for one in found if isinstance(one.row, Rating)}
    bad = {f"Robin {n}." for n in range(0, 12, 3)}
    assert len(scores) == 12
    assert max(scores[one] for one in bad) < min(scores[one] for one in scores.keys() - bad)


def test_propose_all_negative_points_off_are_better_the_higher_they_are() -> None:
    assert proposed(rows(Deductions=[-10, 0, 0]))[0] == {"Deductions": "verdict"}


@pytest.mark.parametrize(
    "key", ["repetition_penalty", "frequency_penalty", "tax deductions", "Points earned"]
)
def test_propose_all_other_penalty_or_points_are_no_points_off(key: str) -> None:
    assert proposed(rows(**{key: [1.5, 0, 1.1]}))[0].get(key) in (None, "verdict")


@pytest.mark.parametrize("down", ["-1", "no_entry", "thumbsdown", "x"])
@pytest.mark.parametrize("more", [{}, {"upvoteCount": [1, 3]}])
def test_propose_all_refusing_emoji_is_downvotes(down: str, more: dict[str, list[int]]) -> None:
    given = rows(reactions=[{"+1": 1, "-1": 0, down: 4}, {"+1": 5, "-1": 0, down: 0, "heart": 1}], **more)
    fields, _ = proposed(given)
    assert fields[f"reactions.{down}"] == "downvotes" and fields["reactions.+1"] == "upvotes"
    fields |= dict.fromkeys(more, "ignore")
    found, tally = read(*given, fields=fields)
    tally.check("mine", fields)
    means = [sum(one.row.scores) for one in found if isinstance(one.row, Rating)]
    assert means == [-3, 5] * 6


def test_propose_all_emoji_of_listed_reaction_is_no_annotator() -> None:
    said, _ = proposed(rows(reactions=[[{"name": "-1", "count": 2}], [{"name": "+1", "count": 1}]]))
    assert said["reactions[].name"] == "ignore" and "vote" not in said.values()
