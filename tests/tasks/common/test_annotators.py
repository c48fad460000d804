"""Test the counts of people who gave labels."""

from __future__ import annotations

import pytest

from tasks.common.annotators import count_named, describe_people, describe_similar_names, is_nobody


@pytest.mark.parametrize("name", ["", "unknown", "unknown-0", "unknown-12", None, 3])
def test_is_nobody_name_of_nobody_is_one(name: object) -> None:
    assert is_nobody(name) and not is_nobody("Ann")


@pytest.mark.parametrize(
    ("annotators", "named", "said"),
    [
        (["ann", "ben", "ann"], 2, "2 people"),
        (["ann"], 1, "1 person"),
        (["ann", "ben", "cay", "unknown"], 3, "3 people and some without a name"),
        (["ann", "unknown-0", "unknown-1"], 1, "1 person and some without a name"),
        (["unknown-0", "unknown-1"], 0, "people without a name"),
        ([""], 0, "people without a name"),
    ],
)
def test_describe_people_counts_only_names(annotators: list[str], named: int, said: str) -> None:
    assert count_named(annotators) == named
    assert describe_people(annotators) == said


def test_describe_similar_names_lists_spellings_of_one_name() -> None:
    assert describe_similar_names(["Anna", "Ben", "unknown-0", "Unknown", "Anna"]) == ""
    said = describe_similar_names(["anna", "Ben", "Anna", "ben.", "Ánna", "Ana"])
    assert "count as different people: 'Anna' and 'anna' and 'Ánna'; 'Ben' and 'ben.'; if they are" in said
    many = [spelling for name in "abcdefg" for spelling in (name, name.upper())]
    assert "; and 2 more such groups; " in describe_similar_names(many)
