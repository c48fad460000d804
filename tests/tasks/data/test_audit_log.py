"""Test that signed lines, such as withdrawals, are appended all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.data.withdrawals import WITHDRAWN, Withdrawal, read_withdrawals, write_withdrawals
from tests.killed_process import kills

SIGNED = {"author": "max", "reason": "asked", "time": "2026-01-31T12:00:00+00:00"}


@pytest.mark.parametrize("former", [[], ["eve"]])
def test_append_lines_killed_at_any_operation_has_all_lines_or_none(
    tmp_path: Path, former: list[str]
) -> None:
    """`chatmill quarantine release` writes in the same way."""

    def write(root: Path, people: list[str]) -> None:
        write_withdrawals(root, [Withdrawal(**SIGNED, annotator=name) for name in people])

    left, count = set[tuple[str, ...]](), 0
    for root in kills(
        lambda root: write(root, ["ann", "ben"]), lambda root: write(root, former), tmp_path / "killed"
    ):
        count += 1
        left.add(tuple(each.annotator for each in read_withdrawals(root)))
        write(root, ["ann", "ben"])
        assert [each.annotator for each in read_withdrawals(root)] == [*former, "ann", "ben"]
        # The part of the killed command was replaced.
        assert [path.name for path in (root / WITHDRAWN).parent.iterdir()] == [Path(WITHDRAWN).name]
    assert left == {tuple(former)} and count >= 3
