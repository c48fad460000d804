"""Test the ages and sizes that `chatmill gc` reads, and the age of unfinished outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.cleanup.output_gc import list_outputs, parse_age, parse_size


def test_parse_age_and_parse_size_read_units_and_refuse_others() -> None:
    assert (parse_age("30d"), parse_age("12h")) == (30 * 86400, 12 * 3600)
    assert (parse_size("20GB"), parse_size("1.5 KiB")) == (20 * 1000**3, 1536)
    for wrong, read in (("soon", parse_age), ("20", parse_size)):
        with pytest.raises(UserError, match="write a number"):
            read(wrong)


def test_list_outputs_new_lock_does_not_make_an_unfinished_output_younger(tmp_path: Path) -> None:
    """A gc that was killed before it renamed the output has made the lock."""
    part = tmp_path / "sft" / f"{'ab' * 10}.part"
    part.mkdir(parents=True)
    (part / "step-3.pt").write_text("weights")
    for path in (part / "step-3.pt", part):
        os.utime(path, (7, 7))
    part.with_suffix(".lock").touch()
    (found,) = list_outputs(tmp_path)
    assert found.made == 7 and len(found.paths) == 2
    (part / "step-3.pt").unlink()
    part.rmdir()
    (found,) = list_outputs(tmp_path)
    assert found.made > 7
