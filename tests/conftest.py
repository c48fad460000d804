"""Settings of all tests: no library calls home, and the longest files run first."""

from __future__ import annotations

import gc
import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from flows.common.garbage_collection import collect_rarely
from flows.servers.environment import QUIET

THRESHOLDS = gc.get_threshold()
# The longest files run first, so that no core is idle at the end.
FIRST = (
    "test_two_hosts.py", "test_reproduction.py", "test_pipeline.py", "test_up.py", "test_notifications.py",
    "test_new_stage.py", "test_training_tasks.py", "test_process_group.py",
)  # fmt: skip
# The files of a group share what each worker would have to make for itself: a Prefect server, browsers, or a
# first run.
GROUPS = (
    (
        "flows/orchestration/test_notifications.py", "flows/orchestration/test_preset_deployments.py",
        "flows/orchestration/test_batch_events.py", "flows/orchestration/test_judge_check.py",
        "flows/orchestration/test_decision_effects.py",
        "flows/orchestration/test_dask_runner.py", "flows/servers/test_commands.py",
        "flows/test_deployments.py", "flows/test_pipeline_run.py",
    ),
    (
        "label_page/test_pages_browser.py", "label_page/test_pages_drafts.py",
        "label_page/test_pages_outbox.py",
    ),
    (
        "integration/test_reproduction.py", "integration/test_pipeline.py", "integration/test_label_batch.py",
    ),
)  # fmt: skip


class FileScheduling(LoadFileScheduling):
    """Each file of tests goes to one worker, and so do all files of a group."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((group[0] for group in GROUPS if file.endswith(group)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling | None:
    """Return the scheduler of `--dist=loadfile`."""
    return FileScheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files of `FIRST` to the front."""
    place = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(FIRST)))


def pytest_collection_finish() -> None:
    """Search for unused objects as usual again, but not among those of the imported modules."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def pytest_configure() -> None:
    """Set the environment before any test module is imported: MLflow reads it at import."""
    # The import of all test modules is shorter by a fifth.
    collect_rarely()
    # A normal run waits minutes for a missing server; tests that stop a server must not.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # Test files run in parallel, and more threads than cores would slow all of them.
    for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}.items():
        os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the file of an MLflow database without runs; making one takes seconds."""
    from tests.tasks.tracking.mlflow_store import open_tracker

    root = tmp_path_factory.mktemp("store")
    open_tracker(root)
    return (root / "mlflow.db").read_bytes()
