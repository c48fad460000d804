"""Test the assignment of groups to splits."""

from __future__ import annotations

import pytest

from tasks.data.splits import SplitParameters, split_of


def test_split_of_shares_are_near_parameters() -> None:
    parameters = SplitParameters(0.1, 0.2)
    names = [split_of(f"group {i}", parameters) for i in range(5000)]
    assert names.count("valid") == pytest.approx(500, rel=0.15)
    assert names.count("test") == pytest.approx(1000, rel=0.15)
    assert names[:100] == [split_of(f"group {i}", parameters) for i in range(100)]
    other = [split_of(f"group {i}", SplitParameters(0.1, 0.2, salt="x")) for i in range(5000)]
    assert other != names


@pytest.mark.parametrize(("key", "value"), [("validation_fraction", 0.0), ("test_fraction", 0.6)])
def test_split_parameters_share_out_of_range_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        SplitParameters(**{key: value})
