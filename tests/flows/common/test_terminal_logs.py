"""Errors of logging itself, such as log lines that Prefect's server does not take, print nothing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.servers.environment import checkout_environment
from tests.small_disk import small_disk

REPOSITORY = Path(__file__).parents[3]
# With a real server, which takes the first line and not the second.
SEND = """
import uuid
from pathlib import Path
from flows.servers.environment import prepare_prefect
from flows.servers.ephemeral_prefect import EphemeralPrefectServer

settings = prepare_prefect(Path.cwd())
server = EphemeralPrefectServer(settings)
server.wait_until_ready()
from prefect.logging import get_logger
from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

def send(line):
    # Without a flow, which would end with an error of its own.
    get_logger("flow_runs").warning(line, extra={"flow_run_id": str(uuid.uuid4())})
    APILogWorker.instance().drain()

setup_logging()
with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
    send("first")
    CHANGE
    send("second")
print("the end")
server.stop_server()
"""
CHANGES = {
    "full": "from tests.small_disk import fill_disk; fill_disk(Path.cwd())",
    "stopped": "server.process.kill()\n    server.over = True\n    server.process.wait()",
    "damaged": "import sqlite3; store = sqlite3.connect('var/prefect/prefect.db', timeout=60)\n"
    "    store.execute('drop table log'); store.commit()",
}


@pytest.mark.parametrize("reason", CHANGES)
def test_guard_logs_server_takes_no_lines_prints_nothing(tmp_path: Path, reason: str) -> None:
    with ExitStack() as opened:
        root = opened.enter_context(small_disk(tmp_path / "disk", "16m")) if reason == "full" else tmp_path
        done = subprocess.run(
            [sys.executable, "-c", SEND.replace("CHANGE", CHANGES[reason])], cwd=root,
            env=checkout_environment(REPOSITORY), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "the end\n", "")


def test_guard_logs_line_that_cannot_be_formatted_prints_nothing() -> None:
    code = (
        "import logging; from flows.common.terminal import guard_logs; guard_logs()\n"
        "logging.basicConfig(); logging.warning('%d', 'text'); logging.warning('whole')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stderr == "WARNING:root:whole\n"
