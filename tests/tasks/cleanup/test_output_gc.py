"""Test the ages and sizes that `chatmill clean` reads."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tasks.cleanup.output_gc import parse_age, parse_size


def test_parse_age_and_parse_size_read_units_and_refuse_others() -> None:
    assert (parse_age("30d"), parse_age("12h")) == (30 * 86400, 12 * 3600)
    assert (parse_size("20GB"), parse_size("1.5 KiB")) == (20 * 1000**3, 1536)
    for wrong, read in (("soon", parse_age), ("20", parse_size)):
        with pytest.raises(UserError, match="write a number"):
            read(wrong)
