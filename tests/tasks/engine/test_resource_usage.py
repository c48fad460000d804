"""Test the measurement of a stage's resources, over all attempts of a resumed stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from model.events import Resumed, Step, Usage
from tasks.engine.resource_usage import SPENT, ResourceMeter, plain_cost
from tests.waiting import until

HOLDS = "import time; kept = bytearray(200_000_000); print('ready', flush=True); time.sleep(30)"


def step(number: int) -> dict[str, Any]:
    return Step(step=number, steps=10, metrics={})


def holds_more(one: ResourceMeter, other: ResourceMeter) -> bool:
    """Return whether one meter saw the memory of a process with HOLDS more than another."""
    return (one.cost.memory or 0) > (other.cost.memory or 0) + 190_000_000


def test_resource_meter_memory_counts_only_processes_of_stage(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    before = start()
    try:
        with ResourceMeter(tmp_path, "cpu", 1, lambda event: None) as alone:
            pass
        with ResourceMeter(tmp_path, "cpu", 1, lambda event: None) as both:
            during = start()
            until(lambda: holds_more(both, alone), "a sample of the new process")
            during.kill()
            during.communicate()
    finally:
        before.kill()
        before.communicate()
    assert holds_more(both, alone)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process shares")
@pytest.mark.parametrize("children", [1, 2, 4])
def test_resource_meter_memory_counts_shared_pages_once(tmp_path: Path, children: int) -> None:
    shared = (
        "import mmap, os, time\n"
        "kept = mmap.mmap(-1, 200_000_000)\n"
        "for _ in range(200): kept.write(b'x' * 1_000_000)\n"
        f"for _ in range({children}):\n"
        "    if os.fork() == 0:\n"
        "        [kept[place] for place in range(0, 200_000_000, 4096)]; time.sleep(30)\n"
        "time.sleep(1); print('ready', flush=True); time.sleep(30)\n"
    )
    with ResourceMeter(tmp_path, "cpu", 1, lambda event: None) as alone:
        pass
    with ResourceMeter(tmp_path, "cpu", 1, lambda event: None) as both:
        process = subprocess.Popen(
            [sys.executable, "-c", shared], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.8)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert alone.cost.memory is not None and both.cost.memory is not None
    # Python itself needs some 10 MB.
    assert 200_000_000 < both.cost.memory - alone.cost.memory < 300_000_000


def test_resource_meter_usage_events_are_kept_others_forwarded(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    with ResourceMeter(tmp_path, "cuda", 2, heard.append) as meter:
        for event in ({"gpu_memory": 5}, {"gpu_memory": 7}, {"gpu_memory": 6}, {"tokens": 40}):
            meter.report_event(Usage(**event))
        meter.report_event(step(1))
        time.sleep(0.2)
    assert heard == [step(1)]
    assert (meter.cost.gpu_memory, meter.cost.tokens) == (7, 40)
    assert meter.cost.device_seconds == pytest.approx(2 * meter.cost.seconds, abs=0.02)
    assert not (tmp_path / SPENT).exists()
    assert "lost" in plain_cost(meter.cost) and "runs" not in plain_cost(meter.cost)


def test_resource_meter_resumed_run_adds_earlier_cost(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ResourceMeter(tmp_path, "cpu", 1, lambda event: None, "a", True) as first,
    ):
        began, reported = time.monotonic(), []
        for number in range(1, 5):
            time.sleep(0.3)
            first.report_event(step(number))
            reported.append(time.monotonic())
        time.sleep(0.6)
        ended = time.monotonic()
        raise KeyboardInterrupt
    left = json.loads((tmp_path / SPENT).read_text())
    assert left["cost"]["runs"] == ["a"]
    again = time.monotonic()
    with ResourceMeter(tmp_path, "cpu", 1, lambda event: None, "b", True) as second:
        second.report_event(Resumed(step=2))
        second.report_event(step(3))
        time.sleep(0.2)
    assert second.cost.runs == ("a",)
    assert second.cost.repeated == 2
    assert second.cost.device_seconds == pytest.approx(ended - began + time.monotonic() - again, abs=0.3)
    # Steps 3 and 4 of the first run, and what it did after them.
    assert second.cost.lost == pytest.approx(ended - reported[1], abs=0.3)
    assert not (tmp_path / SPENT).exists()


def test_resource_meter_restarted_run_counts_earlier_cost_as_lost(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ResourceMeter(tmp_path, "cpu", 1, lambda event: None, "a", True) as first,
    ):
        time.sleep(0.7)
        raise KeyboardInterrupt
    with ResourceMeter(tmp_path, "cpu", 1, lambda event: None, "b", True) as second:
        pass
    assert second.cost.lost == pytest.approx(first.cost.device_seconds, abs=0.3)
