"""Test the notations in which a label's time is read."""

from __future__ import annotations

from datetime import date

import pytest

from tasks.data.values.label_times import iso_time

UTC_NINE = "2024-03-01T09:00:00+00:00"


@pytest.mark.parametrize(
    ("given", "time"),
    [
        ("2024-03-01T09:00:00Z", "2024-03-01T09:00:00Z"),
        ("2024-03-01T09:00:00", "2024-03-01T09:00:00"),
        (" 2024-03-01 09:00 ", "2024-03-01 09:00"),
        ("2024-03-01 09:00:00 UTC", "2024-03-01 09:00:00+00:00"),
        ("2024-03-01 09:00:00 +0000 UTC", "2024-03-01 09:00:00+00:00"),
        ("2024/03/01", "2024-03-01"), ("2024/3/1 9:05:00", "2024-03-01T09:05:00"),
        ("2024.03.01 09:00", "2024-03-01T09:00"),
        ("1.3.2024", "2024-03-01"), ("01.03.2024, 9:05", "2024-03-01T09:05"), ("31. 1. 2024", "2024-01-31"),
        ("Fri, 01 Mar 2024 09:00:00 +0000", UTC_NINE), ("1 Mar 2024 09:00:00 GMT", UTC_NINE),
        ("Fri, 01 Mar 2024 10:00:00 +0100", "2024-03-01T10:00:00+01:00"),
        (date(2024, 3, 1), "2024-03-01"),
    ],
)  # fmt: skip
def test_iso_time_known_notations_are_converted(given: object, time: str) -> None:
    assert iso_time(given) == time


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("kind", [int, float, str])
def test_iso_time_numbers_since_1970_have_any_unit(scale: int, kind: type) -> None:
    assert iso_time(kind(1_709_283_600 * scale)) == UTC_NINE


def test_iso_time_text_of_seconds_with_a_fraction_is_read() -> None:
    assert iso_time("1709283600.250000") == "2024-03-01T09:00:00.250000+00:00"


@pytest.mark.parametrize(
    "given",
    [
        "3/1/2024", "03/01/2024 09:00", "1/31/2024 9:00:00", "3-1-2024", "1.31.2024", "31.4.2024", "3.2.24",
        "2024/13/01", "2024/03.01", "12 good 2024 10:00", "Mon, 99 Jan 2024 10:00:00 +0000",
        "yesterday", "", "1.5", None, True, 12.5, float("nan"), float("inf"), 10**400, -1709283600, [], {},
    ],
)  # fmt: skip
def test_iso_time_other_values_and_two_readings_are_no_time(given: object) -> None:
    assert iso_time(given) == ""
