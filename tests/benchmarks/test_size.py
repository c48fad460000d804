"""Test the benchmark of data sizes: it runs, and any number of processes makes the same data."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.long
def test_size_small_amount_gives_one_data_set_with_one_and_two_processes() -> None:
    words = ["-m", "tests.benchmarks.size", "--gb", "0.005", "--workers", "1", "2", "--no-peer"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"^data (\S+), tokens (\S+)$", done.stdout, re.M)
    assert len(found) == 2 and found[0] == found[1]
