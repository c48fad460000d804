"""Test the report's section on agreement: the tables, and the advice."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tasks.reporting.agreement import agreement_section


def section(found: dict[str, Any], people: dict[str, Any] | None = None) -> dict[str, Any]:
    made = agreement_section(found, people or {})
    assert made is not None
    return made


def measured(alpha: float, **more: Any) -> dict[str, Any]:
    return {"items": 90, "annotators": 3, "judgements": 270, "alpha": alpha, "pair_agreement": 0.8, **more}


def test_agreement_section_unnamed_people_are_told_not_counted() -> None:
    row = {"items": 3, "annotators": 2, "judgements": 9, "alpha": 0.5, "pair_agreement": 0.8}
    found = section({"ratings": {"tone/a": row, "tone/b": {**row, "unnamed": True}}})["rows"]
    assert [(each["annotators"], bool(each["some_unnamed"])) for each in found] == [("2", False), ("2", True)]


@pytest.mark.parametrize(
    ("judgements", "alpha", "said"),
    [(3, None, "one judgement each"), (4, 0.25, "0.25"), (6, None, ""), (None, None, "")],
)
def test_agreement_section_texts_with_one_judgement_are_told(
    judgements: int | None, alpha: float | None, said: str
) -> None:
    row = {"items": 3, "annotators": 2, "judgements": judgements, "alpha": alpha}
    rated, compared = section({"comparisons": {"tone/a": row}, "ratings": {"tone/a": row}})["rows"]
    assert (rated["judged"], compared["judged"]) == ("texts", "pairs")
    assert rated["alpha"] == compared["alpha"] == said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"tone/chat": measured(math.nan)}, "Nothing was judged by two people"),
        ({"tone/chat": measured(0.85)}, "All labels here are above the first bound."),
        ({"tone/chat": measured(0.7), "tone/mail": measured(0.9)}, "0.70, on tone of chat, which is between"),
        (
            {
                "tone/chat": measured(0.31, shared_items=1200, alpha_interval=[0.22, 0.4]),
                "a/b": measured(0.9),
            },
            "The lowest here is 0.31 (95%: 0.22 to 0.40; 1,200 pairs), on tone of chat. A reward model",
        ),
        ({"tone/chat": measured(-0.2)}, "The lowest here is −0.20, on tone of chat. A reward model cannot"),
    ],
)
def test_agreement_section_advice_follows_lowest_alpha(rows: dict[str, Any], said: str) -> None:
    assert said in section({"comparisons": rows})["advice"]


def test_agreement_section_shows_pairs_that_agree_least_and_says_how_many_are_left() -> None:
    pairs = [
        {"people": ["ana", f"p{n:02}"], "items": 10 + n, "same": 0.5, "interval": [0.3, 0.7], "alpha": n / 20}
        for n in range(15)
    ]
    few = {"people": ["ben", "eve"], "items": 2, "same": 0.0, "interval": [0.0, 0.6], "alpha": -1.0}
    listed = {"error_rates": [], "pairs": [*pairs, few], "people_without_pairs": 3}
    people = {"comparisons": {"tone/chat": listed}}
    found = section({"comparisons": {"tone/chat": measured(0.5)}}, people)
    assert [row["people"][1] for row in found["pairs"]] == [f"p{n:02}" for n in range(12)]
    assert found["pairs"][0]["interval"] == "30% to 70%"
    # Three that agree more, and the two people with little in common.
    assert "Not shown: 4 pairs of people who agree more, or judged fewer than 10" in found["pairs_note"]
    assert found["pairs_note"].endswith("has all. 3 people who judged least are in no pair there.")


def test_agreement_section_people_who_are_wrong_most_come_first() -> None:
    choices = [
        {"annotator": name, "judgements": 40, "better": right, "worse": 0.9 - right, "tie": 0.1}
        for name, right in (("ana", 0.9), ("", 0.4))
    ]
    scores = [{"annotator": "ben", "judgements": 1200, "same": 0.5, "above": -0.25}]
    people = {
        "comparisons": {"tone/chat": {"error_rates": choices, "pairs": [], "people_without_pairs": 0}},
        "ratings": {"tone/film": {"error_rates": scores, "pairs": [], "people_without_pairs": 0}},
    }
    found = section({"comparisons": {"tone/chat": measured(0.5)}}, people)["people"]
    assert [(row["annotator"], row["right"]) for row in found] == [
        ("", "40%"),
        ("ben", "50%"),
        ("ana", "90%"),
    ]
    assert found[0]["otherwise"] == "the worse answer 50%, a tie 10%"
    assert found[1]["otherwise"] == "0.25 below the estimated score on average"
    assert found[1]["judgements"] == "1,200"


def test_agreement_section_without_labels_is_none() -> None:
    assert agreement_section({"ratings": {}, "comparisons": {}}, {}) is None


@pytest.mark.parametrize(
    ("strata", "told"),
    [
        (("overall/people", "helpfulness/votes"), True),
        (("overall/people", "tone/votes"), False),
        (("helpfulness/votes",), False),
    ],
)
def test_agreement_section_two_names_of_one_question_are_told(strata: tuple[str, ...], told: bool) -> None:
    note = section({"comparisons": {name: measured(0.5) for name in strata}})["aspects_note"]
    assert ("“aspect: overall” at the file’s source" in note) == told == bool(note)


def test_agreement_section_decisions_of_reviewers_are_told() -> None:
    found = {"comparisons": {"overall/people": measured(0.1)}}
    assert section(found)["review_note"] == ""
    said = section({**found, "decided": {"overall/people": 6, "tone/people": 1}})["review_note"]
    assert said.startswith(
        "Reviewers decided 6 pairs on overall (people), 1 pair on tone (people). The decis"
    )
    assert "The tables of agreement have what people judged before" in said
