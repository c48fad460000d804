"""The status of a stage in a run: computed in that run, or cached from an earlier one."""

from __future__ import annotations

COMPUTED, CACHED = "computed", "cached"
# Records of version 0.1 have these values.
_OLD = {"made": COMPUTED, "reused": CACHED}
# A filter for MLflow, which has no "or". Of the four stored values only "computed" and "made" contain an m.
IS_COMPUTED = "tags.`chatmill.status` LIKE '%m%'"


def status_of(cached: bool) -> str:
    """Return the status that a run records for a stage."""
    return CACHED if cached else COMPUTED


def read_status(stored: str) -> str:
    """Return a recorded status by its present name."""
    return _OLD.get(stored, stored)
