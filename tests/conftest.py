"""What every test needs: nothing that is tested asks anything of the network."""

from __future__ import annotations

import os

import pytest

from flows.servers.environment import QUIET

# The longest, which with others after them leave no core without work at the end.
FIRST = (
    "test_pipeline.py", "test_reproduction.py", "test_up.py", "test_two_hosts.py", "test_notifications.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of `FIRST`, then as they were found."""
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(FIRST)))


def pytest_configure() -> None:
    """Before any test module is imported: MLflow and its like read this when they are."""
    # A person's run waits for minutes for a server that is away; a test that ends one does not.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # Files of tests run side by side: threads that wait for each other would hold them all up.
    for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}.items():
        os.environ.setdefault(name, value)
