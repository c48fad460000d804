"""Stopping supervised processes."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from flows.servers.supervisor import Service, SupervisedProcess, stop_processes
from tests.waiting import until

# Like Prefect's worker, it kills its run when it is asked to end.
WORKER = """
import signal, subprocess, sys
run = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
def end(*_):
    run.kill()
    sys.exit()
signal.signal(signal.SIGTERM, end)
while True:
    run.wait()
    signal.pause()
"""

RUN = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path("running").touch()
signal.pause()
"""

# Like Prefect's worker, it ends by the SIGINT that it makes of SIGTERM.
CONVERTING = """
import os, pathlib, signal
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
pathlib.Path("running").touch()
while True:
    signal.pause()
"""

STUBBORN = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
while True:
    signal.pause()
"""


def test_stop_processes_ends_worker_runs_before_worker(tmp_path: Path) -> None:
    command = (sys.executable, "-c", WORKER, RUN)
    worker = SupervisedProcess(
        Service("cpu", command, tmp_path / "log", lambda: "", "runs", grace=20), tmp_path
    )
    until((tmp_path / "running").exists, "its start")
    stop_processes([worker], pytest.fail)
    assert (tmp_path / "saved").exists() and worker.process.poll() == 0


def test_stop_processes_started_with_ignored_sigint_end_by_it(tmp_path: Path) -> None:
    # A shell starts a script's background job so.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        service = Service("cpu", (sys.executable, "-c", CONVERTING), tmp_path / "log", lambda: "", "runs")
        worker = SupervisedProcess(service, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    until((tmp_path / "running").exists, "its start")
    stop_processes([worker], pytest.fail)
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()


def test_stop_processes_several_that_do_not_end_share_one_deadline(tmp_path: Path) -> None:
    notes: list[str] = []
    workers = []
    for name in ("a", "b", "c"):
        command = (sys.executable, "-c", STUBBORN, name)
        service = Service(name, command, tmp_path / "log", lambda: "", "runs", grace=4)
        workers.append(SupervisedProcess(service, tmp_path))
        until((tmp_path / name).exists, "its start")
    began = time.monotonic()
    stop_processes(workers, notes.append)
    # One after the other they would take 12 s.
    assert 4 <= time.monotonic() - began < 10
    assert notes == [f"{name} does not stop; killing it" for name in ("a", "b", "c")]
