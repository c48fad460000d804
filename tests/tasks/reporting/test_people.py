"""Test the report's section on people: counts by person and day, the page's figures, and the advice."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.reporting.people import LabelCounts, people_section


def labelled(**days: dict[str, int]) -> LabelCounts:
    counts = LabelCounts()
    for person, given in days.items():
        for day, number in given.items():
            for _ in range(number):
                counts.add_row({"annotator": person, "time": f"{day}T10:00:00.000+00:00" if day else ""})
    return counts


def summary(person: str, seconds: float = 20.0, judgements: int = 50, **known: float) -> dict[str, Any]:
    return {
        "person": person,
        "judgements": judgements,
        "median_seconds": seconds,
        "known": {"share": 0.0, "low": 0.0, "high": 1.0, "count": 25, **known} if known else None,
    }


def section(counts: LabelCounts, *summaries: dict[str, Any]) -> dict[str, Any]:
    made = people_section(counts, summaries)
    assert made is not None
    return made


def test_people_section_without_people_is_left_out() -> None:
    counts = LabelCounts()
    counts.add_row({"scores": [1.0, 2.0], "annotators": ["unknown-0", "unknown-1"]})
    assert people_section(counts, ()) is None
    assert counts.unnamed == 2


def test_people_section_rating_counts_each_score_on_its_day() -> None:
    counts = LabelCounts()
    row = {"scores": [1.0, 2.0, 3.0, 4.0], "annotators": ["ana", "ben", "unknown-0"]}
    counts.add_row({**row, "times": ["2026-03-01T09:00:00Z", "yesterday"]})
    found = section(counts)
    assert [(row["person"], row["labels"], row["between"]) for row in found["rows"]] == [
        ("ana", "1", "2026-03-01"),
        ("ben", "1", ""),
    ]
    assert found["lead"] == (
        "2 people gave 2 labels, 1 of them on 2026-03-01 and 1 without a date; 2 more without a name."
    )


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ({"": 4}, "1 person gave 4 labels."),
        ({"2026-03-01": 4}, "1 person gave 4 labels, all on 2026-03-01."),
        ({"2026-03-01": 1, "2026-03-04": 2}, "1 person gave 3 labels, from 2026-03-01 to 2026-03-04."),
        (
            {"2026-03-01": 1, "2026-03-04": 2, "": 9},
            "1 person gave 12 labels, 3 of them from 2026-03-01 to 2026-03-04 and 9 without a date.",
        ),
    ],
)
def test_people_section_lead_says_dates_of_dated_labels_alone(days: dict[str, int], said: str) -> None:
    assert section(labelled(ana=days))["lead"] == said


def test_people_section_rows_have_share_days_and_the_most_on_a_day() -> None:
    found = section(labelled(ana={"2026-03-01": 2, "2026-03-04": 6}, ben={"2026-03-02": 2}))
    ana, ben = found["rows"]
    assert (ana["labels"], ana["share"], ana["days"], ana["most"]) == ("8", "80%", "2", "6 on 2026-03-04")
    assert (ana["between"], ben["between"], ben["most"]) == ("2026-03-01 to 2026-03-04", "2026-03-02", "")
    assert found["chart"].count("<rect") == 6
    assert "ana, 2026-03-04: 6" in found["chart"]
    assert "the 3 days with labels. The darkest square has 6 labels" in found["caption"]
    assert found["advice"] == [
        "ana gave 80% of the 10 labels, so the model learns mostly that person’s taste. Labels by more "
        "people would balance it."
    ]


def test_people_section_many_people_and_days_are_cut_and_told() -> None:
    days = {f"2026-{month:02}-{day:02}": 1 for month in (1, 2) for day in range(1, 29)}
    found = section(labelled(**{f"person number {n:02}": days for n in range(14)}))
    assert len(found["rows"]) == 12
    assert found["note"] == "Not shown: 2 people who gave fewer labels."
    assert "the newest 28 of 56 days" in found["caption"]
    assert "2026-02-01: 1" in found["chart"] and "2026-01-28" not in found["chart"]


@pytest.mark.parametrize(
    ("summaries", "said"),
    [
        ([summary("ana")], "No known items were judged."),
        ([summary("ana", share=0.9, low=0.5, count=6)], "Nobody judged 10 known items yet"),
        ([summary("ana", share=0.0, high=0.79, count=1)], "Nobody judged 10 known items yet"),
        (
            [summary("ana", share=0.9, low=0.8), summary("rita", share=0.0, high=0.79, count=1)],
            "80% of known items. Fewer than 10 known items say little about a person: rita (n = 1).",
        ),
        (
            [summary("ana", share=0.3, high=0.6, count=10), summary("rita", share=0.0, high=0.79, count=9)],
            "of known items: ana (95%: 0% to 60%; n = 10). Talk with them",
        ),
        ([summary("ana", share=0.9, low=0.8)], "Nobody is clearly right on fewer than 80%"),
        (
            [summary("ana", share=0.9, low=0.8), summary("ben", share=0.4, low=0.23, high=0.59)],
            "of known items: ben (95%: 23% to 59%; n = 25). Talk with them",
        ),
        (
            [summary("ana", 21.0), summary("ben", 5.0), summary("eve", 19.0), summary("new", 1.0, 19)],
            "by the median of an item: ben 5.0 seconds, the others 20.0. That",
        ),
    ],
)
def test_people_section_advice_follows_known_items_and_seconds(
    summaries: list[dict[str, Any]], said: str
) -> None:
    assert said in " ".join(section(LabelCounts(), *summaries)["advice"])


def test_people_section_least_reliable_people_come_first() -> None:
    found = section(
        LabelCounts(), summary("ana"), summary("ben", share=0.9, low=0.7), summary("eve", share=0.4, low=0.2)
    )
    assert [(row["person"], row["right"]) for row in found["page"]] == [
        ("eve", "40%"), ("ben", "90%"), ("ana", ""),
    ]  # fmt: skip
    assert found["page"][0]["interval"] == "95%: 20% to 100%; n = 25"


def test_people_section_unknown_seconds_are_empty_and_not_hasty() -> None:
    found = section(LabelCounts(), summary("ana", 20.0), summary("ben", 0.0), summary("eve", 21.0))
    assert [row["seconds"] for row in found["page"]] == ["20.0", "", "21.0"]
    assert not any("faster" in sentence for sentence in found["advice"])
