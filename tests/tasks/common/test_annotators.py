"""Test the counts of people who gave labels."""

from __future__ import annotations

import pytest

from tasks.common.annotators import count_named, describe_people, is_nobody


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
