"""What every test needs: nothing that is tested asks anything of the network."""

from __future__ import annotations

import os

from flows.surroundings import QUIET


def pytest_configure() -> None:
    """Before any test module is imported: MLflow and its like read this when they are."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # Files of tests run side by side: threads that wait for each other would hold them all up.
    for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}.items():
        os.environ.setdefault(name, value)
