"""A temporary Prefect server for one run. It starts first, so that it is ready when it is needed."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack
from functools import partial
from typing import Any

from flows.common.disk_space import start_failure
from flows.servers.commands import own_guard, prefect_command
from flows.servers.credentials import without_secrets
from flows.servers.database import prepare_prefect_database
from flows.servers.environment import (
    LOOPBACK,
    TEMPORARY_PREFECT,
    Settings,
    find_running_services,
    give_prefect,
    health_problem,
    prepare_prefect,
    reserve_port,
    trust_server,
)
from flows.servers.state_file import start_lock
from model.processes import die_with_parent
from tasks.project.paths import LOGS

_STARTING_SECONDS = 90.0
_GRACE_SECONDS = 5.0
SETTLING_SECONDS = 60.0
STARTS = 5
LONGEST_LOG = 1 << 20
# The settings of Prefect's own temporary server: no pages, and only the services that a run needs.
_TEMPORARY = {
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    # Otherwise Prefect imports Dask to see whether there are new blocks, a second of the start.
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}


class EphemeralPrefectServer:
    """Prefect's server until the program ends; it does nothing if the project has a server already.

    Prefect can start one by itself, but later, while all else waits, and leaves it behind when it is killed.
    Create this object before Prefect is imported, as Prefect reads the address then. At exit Prefect still
    sends its last states, and exit handlers run in reverse order: the first registered one ends last.
    """

    def __init__(self, settings: Settings) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.over = self.ready = False
        self.starting = ExitStack()
        self.api, self.login = settings.prefect, settings.login
        self.log = settings.root / LOGS / "prefect-run-server.log"
        if self.api:
            return
        # Held until the server answers: two servers that create the database at once break it.
        self.starting.enter_context(start_lock(settings.root, _say))
        # `chatmill up` may have started a server while this process waited for the lock.
        if find_running_services(settings.root):
            self.api = prepare_prefect(settings.root).prefect
            self.starting.close()
            return
        if notice := prepare_prefect_database(settings.root):
            _say(notice)
        # Kept open: the server binds the port seconds later, and again if it has to be restarted.
        self.reserved = reserve_port()
        self.port = self.reserved.getsockname()[1]
        self.api = f"http://{LOOPBACK}:{self.port}/api"
        self.guard = own_guard(settings)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LONGEST_LOG:
            self.log.unlink()
        # Not truncated, as the servers of other runs write to the same file.
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        self.process = self._start_process()
        # The kernel ends a child when the thread that started it ends, so restarts happen in a thread that
        # lives as long as the program.
        threading.Thread(target=self._restart_when_killed, name="prefect", daemon=True).start()
        os.environ["PREFECT_API_URL"] = os.environ[TEMPORARY_PREFECT] = self.api
        trust_server(self.api)
        give_prefect(self.login)
        atexit.register(self.stop_server)

    def _restart_when_killed(self) -> None:
        """Restart the server if it was killed: its database is intact, and its clients try again."""
        process = self.process
        starts = 0
        while process is not None and process.wait() < 0 and not self.over and starts < STARTS:
            starts += 1
            process = self.process = self._start_process()

    def _start_process(self) -> subprocess.Popen[bytes]:
        environment = {
            **without_secrets(os.environ), **_TEMPORARY, **self.login.prefect_server, **self.guard
        }  # fmt: skip
        with self.log.open("ab") as log:
            return subprocess.Popen(
                prefect_command(LOOPBACK, self.port), stdout=log, stderr=log, env=environment,
                # A session of its own: Ctrl-C must not end the server before the run has recorded its end.
                start_new_session=True, preexec_fn=partial(die_with_parent, os.getpid()),
            )  # fmt: skip

    def wait_until_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: It does not start.
            UserError: The disk is full.
        """
        deadline = time.monotonic() + _STARTING_SECONDS
        with self.starting:
            while self.process is not None and health_problem(self.api):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise start_failure("Prefect's server", self.log, self.log_start)
                time.sleep(0.1)
        self.ready = True
        if self.process is not None:
            _send_no_heartbeats()

    def wait_for_tasks(self, flow_run: str, tasks: int) -> bool:
        """Wait until the server has recorded the end of so many tasks of a flow run; return whether it has.

        Tasks send their states as events, which the server buffers before it writes them. A server that is
        ended at once would leave tasks Running for ever.
        """
        asked = {
            "flow_runs": {"id": {"any_": [flow_run]}},
            "task_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}},
        }
        deadline = time.monotonic() + SETTLING_SECONDS
        while self.process is not None:
            if self._count_tasks(asked) >= tasks:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _count_tasks(self, asked: dict[str, Any]) -> int:
        headers = {"Content-Type": "application/json", "Authorization": self.login.header}
        request = urllib.request.Request(f"{self.api}/task_runs/count", json.dumps(asked).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_GRACE_SECONDS) as answer:
                return int(json.load(answer))
        except OSError:
            return 0

    def stop_server(self) -> None:
        """End the server, with SIGKILL if it does not end in time, or has not answered yet."""
        self.over = True
        self.starting.close()
        if self.process is None:
            return
        if os.environ.get("PREFECT_API_URL") == self.api:
            del os.environ["PREFECT_API_URL"]
        os.environ.pop(TEMPORARY_PREFECT, None)
        if self.ready:
            self.process.terminate()
        else:
            # It would finish its start first. There is nothing yet that it has to record.
            self.process.kill()
        try:
            self.process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _send_no_heartbeats() -> None:
    """Turn off the heartbeats of flow runs: nobody watches for them at a server that ends with the run.

    Prefect's thread for them sleeps a second at a time, and a flow waits for that thread at its end.
    """
    from prefect.settings import get_current_settings

    get_current_settings().flows.heartbeat_frequency = None


def _say(text: str) -> None:
    print(text, file=sys.stderr)
