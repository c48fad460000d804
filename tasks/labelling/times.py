"""The time as the label page's records have it."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_now() -> str:
    """Return the time now, ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
