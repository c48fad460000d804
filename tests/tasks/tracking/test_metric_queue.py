"""Test that metrics reach an MLflow server which is away for a while, without blocking the run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from flows.servers.commands import ListenAddress, mlflow_server
from flows.servers.credentials import read_login
from flows.servers.environment import LOOPBACK, Settings, free_port
from flows.servers.supervisor import SupervisedProcess
from tasks.tracking import metric_queue
from tasks.tracking.metric_queue import MetricQueue

Start = Callable[[], SupervisedProcess]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a server at `MLFLOW_TRACKING_URI`, always over the same store."""
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{LOOPBACK}:{port}")
    # MLflow's own retries would only make the test longer.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    login = read_login("sender:as-nobody-else-does")
    for name, value in login.client_environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", "", login)
    started = []

    def start() -> SupervisedProcess:
        started.append(SupervisedProcess(mlflow_server(settings, ListenAddress(LOOPBACK, port)), tmp_path))
        started[-1].wait_until_ready()
        return started[-1]

    yield start
    for server in started:
        end(server)


def end(server: SupervisedProcess) -> None:
    """Kill the server and the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()


def figures(first: int, last: int) -> list[Metric]:
    return [Metric("loss", 1 / step, int(time.time() * 1000), step) for step in range(first, last)]


def test_put_metrics_while_server_is_away_are_held_and_sent(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LATE_SECONDS", "AGAIN_SECONDS", "FLUSH_SECONDS"):
        monkeypatch.setattr(metric_queue, name, 0.2)
    server = start()
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    run = client.create_run(client.create_experiment("away")).info.run_id
    sender = MetricQueue(client)
    sender.put_metrics(run, figures(1, 600))
    sender.flush_metrics(lambda text: None)
    assert len(client.get_metric_history(run, "loss")) == 599

    end(server)
    said: list[str] = []
    began = time.monotonic()
    for step in range(600, 700):
        sender.put_metrics(run, figures(step, step + 1))
    # Each would wait AGAIN_SECONDS if it waited for the server: 20 seconds.
    assert time.monotonic() - began < 10
    while not said:
        said += filter(None, [sender.status_message()])
        time.sleep(0.1)
    assert "MLflow is unreachable" in said[0]
    with pytest.raises(RuntimeError, match="100 metrics are queued"):
        sender.flush_metrics(said.append, patience=0.5)

    sender.put_metrics(run, figures(700, 710))
    start()
    sender.flush_metrics(said.append)
    assert said[-1] == "MLflow is reachable again; queued metrics are sent"
    assert [point.step for point in client.get_metric_history(run, "loss")][-10:] == [*range(700, 710)]


def test_flush_metrics_rejected_metric_is_not_sent_again(start: Start) -> None:
    start()
    sender = MetricQueue(MlflowClient(os.environ["MLFLOW_TRACKING_URI"]))
    sender.put_metrics("0" * 32, figures(1, 2))
    with pytest.raises(MlflowException, match="not found"):
        sender.flush_metrics(lambda text: None)
