"""Test the status of a stage in records of both versions."""

import pytest

from tasks.common.stage_status import CACHED, COMPUTED, read_status, status_of


@pytest.mark.parametrize(
    ("stored", "status"),
    [("made", COMPUTED), ("reused", CACHED), ("computed", COMPUTED), ("cached", CACHED), ("", "")],
)
def test_read_status_older_name_is_read_as_present_one(stored: str, status: str) -> None:
    assert read_status(stored) == status


def test_status_of_cached_or_computed_output_is_named() -> None:
    assert (status_of(True), status_of(False)) == (CACHED, COMPUTED)
