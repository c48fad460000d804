"""Stopping supervised processes."""

from __future__ import annotations

import sys
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


def test_stop_processes_ends_worker_runs_before_worker(tmp_path: Path) -> None:
    command = (sys.executable, "-c", WORKER, RUN)
    worker = SupervisedProcess(
        Service("cpu", command, tmp_path / "log", lambda: "", "runs", grace=20), tmp_path
    )
    until((tmp_path / "running").exists, "its start")
    stop_processes([worker], pytest.fail)
    assert (tmp_path / "saved").exists() and worker.process.poll() == 0
