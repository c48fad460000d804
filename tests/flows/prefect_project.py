"""A project with a real Prefect server, started as `chatmill up` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.utilities.asyncutils import run_coro_as_sync

from flows.servers.commands import ListenAddress, prefect_server
from flows.servers.credentials import Credentials, stored_login
from flows.servers.environment import Settings, checkout_environment, free_port, health_problem
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]
SMOKE = REPOSITORY / "configs" / "smoke.yaml"
# Prefect collects events for five seconds before it writes them, and tests wait until they are there.
PROMPT_EVENTS = {"PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.2"}


@dataclass(frozen=True)
class PrefectProject:
    """The folder of the project, and the address, login and process of its server."""

    root: Path
    api: str
    login: Credentials
    server: subprocess.Popen[bytes]


@contextmanager
def run_server(root: Path) -> Iterator[PrefectProject]:
    """Run a server in a folder until the block ends. It stands still outside of `enter_project`."""
    home = root / "var" / "prefect"
    home.mkdir(parents=True)
    port = free_port()
    login = stored_login(root)
    service = prefect_server(Settings(root, "", "", login), ListenAddress("127.0.0.1", port))
    with (root / "server.log").open("wb") as log:
        environment = {
            **checkout_environment(REPOSITORY), **PROMPT_EVENTS,
            "PREFECT_HOME": str(home), **service.environment,
        }  # fmt: skip
        server = subprocess.Popen(service.command, cwd=root, env=environment, stdout=log, stderr=log)
    project = PrefectProject(root, f"http://127.0.0.1:{port}/api", login, server)
    try:
        until(lambda: not health_problem(project.api), "the server's start", server, root / "server.log")
        yield project
    finally:
        # SIGTERM would wait for requests in progress, without a limit. Nobody reads the folder afterwards.
        server.kill()
        server.wait()


@contextmanager
def enter_project(project: PrefectProject) -> Iterator[None]:
    """Work in the folder, with the server and its login in the environment.

    Outside of the block the server is stopped by SIGSTOP: its idle loops take a sixth of a core.
    """
    before = Path.cwd()
    project.server.send_signal(signal.SIGCONT)
    known = {PREFECT_API_URL: project.api, PREFECT_API_AUTH_STRING: project.login.text}
    try:
        os.chdir(project.root)
        with pytest.MonkeyPatch.context() as patch, temporary_settings(known):
            # A server that `up` did not start is named beside its password.
            for name, value in {
                "PREFECT_API_URL": project.api,
                "CHATMILL_PASSWORD": project.login.text,
            }.items():
                patch.setenv(name, value)
            patch.setenv("PREFECT_API_AUTH_STRING", project.login.text)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            yield
            # Prefect keeps its client for events, which would send later events to this server.
            run_coro_as_sync(_drain_events())
    finally:
        os.chdir(before)
        project.server.send_signal(signal.SIGSTOP)


async def _drain_events() -> None:
    drained = EventsWorker.drain_all()
    if isawaitable(drained):
        await drained


def unreachable_server() -> AbstractContextManager[object]:
    """Point Prefect's client at an address where no server answers."""
    return temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"})


def lay_deployments(root: Path) -> None:
    """Put prefect.yaml and the flows that it names into a folder."""
    (root / "prefect.yaml").write_bytes((REPOSITORY / "prefect.yaml").read_bytes())
    if not (root / "flows").exists():
        (root / "flows").symlink_to(REPOSITORY / "flows")
