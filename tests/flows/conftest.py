"""Fixtures of several files. One Prefect server serves a process of tests: a start takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from tests.flows.prefect_project import PrefectProject, enter_project, run_server


@pytest.fixture
def restored_environment() -> Iterator[None]:
    """Undo what a test changes in the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def prefect_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectProject]:
    """Run one server until the session ends. It takes no time of the processor outside of its modules."""
    with run_server(tmp_path_factory.mktemp("unattended")) as project:
        yield project


@pytest.fixture(scope="module")
def server_root(prefect_project: PrefectProject) -> Iterator[Path]:
    """Work in the server's project, and return its folder."""
    with enter_project(prefect_project):
        yield prefect_project.root


@pytest.fixture
def client(server_root: Path) -> Iterator[SyncPrefectClient]:
    """Return a client of the server."""
    with get_client(sync_client=True) as found:
        yield found
