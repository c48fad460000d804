"""Test a reproduction whose run ends because the disk of its checkout is full."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tasks.common.git_checkout import Code
from tasks.reproduction.checkout import Checkout
from tasks.reproduction.recorded_run import RecordedRun
from tasks.reproduction.reproduce import ReproductionFailed, make_anew
from tests.small_disk import small_disk

# Stands for a run of an earlier version, whose message names no folder; it leaves this many bytes.
COMMAND = """
import pathlib, shutil, sys
free = shutil.disk_usage(".").free
pathlib.Path("filler").write_bytes(bytes(free - {leave}))
print("error: No space left on device")
sys.exit({code})
"""


@pytest.mark.parametrize(("leave", "code"), [(0, 2), (5000, 2), (0, 1)])
def test_make_anew_full_disk_is_named(tmp_path: Path, leave: int, code: int) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        with pytest.raises(OSError, match="No space left") as found:
            _run_command(disk, leave, code)
        assert found.value.filename == str(disk)


@pytest.mark.parametrize("leave", [200_000, 500_000, 900_000])
def test_make_anew_nearly_full_disk_tells_its_space(tmp_path: Path, leave: int) -> None:
    with (
        small_disk(tmp_path / "disk", "2m") as disk,
        pytest.raises(ReproductionFailed, match=rf"exit code 2; .*the disk with {disk} has 0\.\d MB left"),
    ):
        _run_command(disk, leave, 2)


def _run_command(disk: Path, leave: int, code: int) -> None:
    (disk / "flows" / "cli").mkdir(parents=True)
    for name, text in (("cli/main", COMMAND.format(leave=leave, code=code)), ("__init__", "")):
        (disk / "flows" / f"{name}.py").write_text(text)
    original = RecordedRun("12" * 16, "mine", Code("a" * 40, ""), {}, "", {}, [])
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    make_anew(Checkout(disk, disk / "preset.json", ""), original, Path(sys.executable), environment)
