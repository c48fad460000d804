"""The Prefect server that lasts as long as one run."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from flows.servers.environment import checkout_environment
from tasks.project.paths import PREFECT_HOME

REPOSITORY = Path(__file__).parents[3]
RUN_FLOW = """
from pathlib import Path
from flows.servers.environment import prepare_prefect
from flows.servers.ephemeral_prefect import EphemeralPrefectServer

server = EphemeralPrefectServer(prepare_prefect(Path.cwd()))
server.wait_until_ready()
from prefect import flow

flow(lambda: None, name="nothing")()
"""


def test_wait_until_ready_own_server_flow_sends_no_heartbeats(tmp_path: Path) -> None:
    # A flow that sends them waits at its end until their thread has slept, up to a second.
    subprocess.run(
        [sys.executable, "-c", RUN_FLOW], cwd=tmp_path, env=checkout_environment(REPOSITORY), check=True
    )
    with closing(sqlite3.connect(tmp_path / PREFECT_HOME / "prefect.db")) as store:
        kinds = {kind for (kind,) in store.execute("select event from events")}
    assert "prefect.flow-run.Completed" in kinds
    assert "prefect.flow-run.heartbeat" not in kinds
