"""Test runs that write to MLflow's store at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException

from tasks.engine.output import StageOutput
from tasks.tracking.store_client import ATTEMPTS, StoreClient, repeat_conflicts
from tasks.tracking.tracker import HOLDER, Tracker
from tests.tasks.tracking.mlflow_store import open_tracker
from tests.tasks.tracking.test_tracker import output

ROUNDS = 8
TOGETHER = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    client = open_tracker(folder).client
    client.create_registered_model("demo")
    client.create_model_version("demo", "file:///nowhere")
    return folder


def _log_data(client: StoreClient, run: str, name: str) -> None:
    data = Dataset("data", name, "dvc", "{}")
    own = client.create_run(client.get_run(run).info.experiment_id).info.run_id
    client.log_inputs(own, [DatasetInput(data, [InputTag("mlflow.data.context", "ingest")])])


WRITES: dict[str, Callable[[StoreClient, str, str], None]] = {
    "a tag of a run": lambda client, run, name: client.set_tag(run, name, "x"),
    "a data set": _log_data,
    "a tag of a model": lambda client, run, name: client.set_registered_model_tag("demo", name, "x"),
    "a tag of a version": lambda client, run, name: client.set_model_version_tag("demo", "1", name, "x"),
}


def _reuse(tracker: Tracker, reused: StageOutput) -> None:
    with tracker.open_run("demo", {}, {}, "reuses"), tracker.open_stage("sft", {}, []):
        tracker.close_stage(reused, "0123.dir")


def _at_once(count: int, action: Callable[[int], Any]) -> list[BaseException]:
    """Call an action in several threads at the same moment; return the errors."""
    begin, errors = threading.Barrier(count), []

    def act(number: int) -> None:
        try:
            begin.wait()
            action(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=act, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("what", WRITES)
def test_store_client_same_row_written_at_once_succeeds(root: Path, what: str) -> None:
    uri = f"sqlite:///{root / 'mlflow.db'}"
    clients = [StoreClient(tracking_uri=uri, registry_uri=uri) for _ in range(TOGETHER)]
    run = clients[0].create_run(open_tracker(root).experiment).info.run_id
    for number in range(ROUNDS):
        assert _at_once(TOGETHER, lambda who, key=f"key{number}": WRITES[what](clients[who], run, key)) == []


def test_close_stage_runs_reusing_output_of_open_run_finish(root: Path) -> None:
    made = output(root, stage="sft", key="shared")
    maker = open_tracker(root)
    with maker.open_run("demo", {}, {}, "maker"), maker.open_stage("sft", {}, []) as stage:
        reused = output(root, stage="sft", key="shared", reused=True, run=stage)
        trackers: list[Tracker] = [open_tracker(root) for _ in range(TOGETHER)]
        assert _at_once(TOGETHER, lambda who: _reuse(trackers[who], reused)) == []
        maker.close_stage(made, "0123.dir")
        assert HOLDER in maker.client.get_run(stage).data.tags
    states = {maker.client.get_run(tracker.run).info.status for tracker in trackers}
    assert states == {"FINISHED"}


@pytest.mark.parametrize(
    "says",
    [
        "(sqlite3.IntegrityError) UNIQUE constraint failed: tags.key, tags.run_uuid",
        '(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "tag_pk"',
    ],
)
def test_repeat_conflicts_conflict_is_repeated_until_last_attempt(says: str) -> None:
    tries: list[int] = []

    def write(failures: int) -> str:
        tries.append(0)
        if len(tries) <= failures:
            raise MlflowException(says)
        return "written"

    assert repeat_conflicts(lambda: write(ATTEMPTS - 1)) == "written"
    tries.clear()
    with pytest.raises(MlflowException):
        repeat_conflicts(lambda: write(ATTEMPTS))
    tries.clear()
    says = "the run is deleted"
    with pytest.raises(MlflowException):
        repeat_conflicts(lambda: write(1))
    assert len(tries) == 1


def test_create_missing_experiment_several_at_once_make_one(root: Path) -> None:
    found: set[str] = set()

    def create(who: int, name: str) -> None:
        client = StoreClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
        found.add(client.create_missing_experiment(name, None).experiment_id)

    for number in range(5):
        found.clear()
        assert _at_once(TOGETHER, lambda who, name=f"new{number}": create(who, name)) == []
        assert len(found) == 1
