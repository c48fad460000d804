"""Times of labels in the notations that leave no doubt, as ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime

_EARLIEST_SECONDS = 10**8  # the year 1973: a smaller number is a year or a duration
# As seconds, the year 5138: a larger number counts milliseconds, microseconds or nanoseconds.
LATEST_SECONDS = 10**11
_LATEST_NUMBER = 10**20
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# What programs write behind a time in UTC: `UTC`, `+0000 UTC` or ` Z`.
_UTC_WORD = re.compile(r"\s+(?:[+-]00:?00\s*)?(?:UTC|GMT|Z)")
_YEAR_FIRST = re.compile(r"(\d{4})([/.])(\d{1,2})\2(\d{1,2})(?:,?[ T]+(\S.*))?")
# With dots the day comes first. With slashes it may be the month, so such a date is no time here.
_DAY_FIRST = re.compile(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})(?:,?\s+(\S.*))?")
# RFC 5322, as in e-mail and HTTP: `Mon, 01 Jan 2024 10:00:00 +0000`.
_MAIL = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),\s*)?\d{1,2}\s+"
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{4}\s+\d{1,2}:\d{2}.*"
)


def iso_time(value: object) -> str:
    """Return a time as ISO 8601; empty if it is none, or its notation has two readings.

    Args:
        value: A date, a number of seconds, milliseconds, microseconds or nanoseconds since 1970, or a text:
            such a number, ISO 8601, RFC 5322, or a date with the year first, or with dots.
    """
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        if not isinstance(value, str):
            return _time_of_number(float(value))
        text = value.strip()
        return _time_of_number(float(text)) if _NUMBER.fullmatch(text) else _time_of_text(text)
    except (ValueError, TypeError, OverflowError, OSError):
        return ""


def time_seconds(time: str) -> float:
    """Return the seconds since 1970 of a time in ISO 8601, in UTC if it has no zone; -inf for none."""
    if not time:
        return float("-inf")
    moment = datetime.fromisoformat(time)
    zero = datetime(1970, 1, 1, tzinfo=UTC)
    # Mixed times with and without zones cannot be compared by Python.
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - zero).total_seconds()


def _time_of_number(number: float) -> str:
    # Written so that NaN is excluded too.
    if not _EARLIEST_SECONDS <= number < _LATEST_NUMBER:
        return ""
    while number >= LATEST_SECONDS:
        number /= 1000
    return datetime.fromtimestamp(number, UTC).isoformat()


def _time_of_text(text: str) -> str:
    """Return a text as ISO 8601. Raise ValueError if it is no time."""
    if _MAIL.fullmatch(text):
        return parsedate_to_datetime(text).isoformat()
    if found := _YEAR_FIRST.fullmatch(text):
        year, _, month, day, clock = found.groups()
    elif found := _DAY_FIRST.fullmatch(text):
        day, month, year, clock = found.groups()
    else:
        return _in_iso(text)
    said = f"{year}-{int(month):02}-{int(day):02}"
    if not clock:
        return _in_iso(said)
    return _in_iso(f"{said}T{clock if clock[1:2].isdigit() else f'0{clock}'}")


def _in_iso(text: str) -> str:
    if word := _UTC_WORD.search(text):
        text = f"{text[: word.start()]}+00:00" if word.end() == len(text) else text
    datetime.fromisoformat(text)
    return text
