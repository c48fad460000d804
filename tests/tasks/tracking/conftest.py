"""Fixtures for tests that need an MLflow database."""

from __future__ import annotations

import pytest

from tests.tasks.tracking.mlflow_store import open_tracker


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Make an MLflow database once, as making one takes seconds."""
    root = tmp_path_factory.mktemp("store")
    open_tracker(root)
    return (root / "mlflow.db").read_bytes()
