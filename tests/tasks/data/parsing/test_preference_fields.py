"""Test fields that the preference formats share."""

from __future__ import annotations

import pytest

from tasks.data.parsing.preference_fields import iso_time


@pytest.mark.parametrize(
    ("given", "time"),
    [
        ("2024-03-01T09:00:00Z", "2024-03-01T09:00:00Z"),
        (1709283600000, "2024-03-01T09:00:00+00:00"),
        ("1709283600", "2024-03-01T09:00:00+00:00"),
        ("yesterday", ""), (None, ""), (True, ""), (12.5, ""), (float("nan"), ""), (10**400, ""), ([], ""),
    ],
)  # fmt: skip
def test_iso_time_known_notations_are_converted(given: object, time: str) -> None:
    assert iso_time(given) == time
