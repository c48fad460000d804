"""Test Ctrl-C in a run whose servers have stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.servers.interruption import short_waits_after_interrupt
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[3]
# A server that does not answer: nothing listens on port 9.
CODE = """
import os, signal, sys, threading
os.environ.update(PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES="7")
from prefect.client.orchestration import get_client
from flows.servers.interruption import short_waits_after_interrupt
client = get_client(sync_client=True)
def record():
    client.read_flows()
try:
    with short_waits_after_interrupt():
        threading.Timer(0.2, os.kill, (os.getpid(), signal.{sign})).start()
        try:
            record()
        finally:
            record()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM"])
def test_short_waits_after_interrupt_stopped_server_ends_soon(sign: str) -> None:
    code = CODE.replace("{sign}", sign)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 130, done.stderr.decode()
    # Without it, the second request alone waits for four minutes.
    assert time.monotonic() - began < 180


def test_short_waits_after_interrupt_other_errors_pass() -> None:
    for error in (ConnectionError, ValueError):
        with pytest.raises(error), short_waits_after_interrupt():
            raise error("as it is")
