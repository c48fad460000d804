"""Metrics on their way to MLflow, sent from a separate thread, so that training never waits for a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE, ErrorCode

FLUSH_SECONDS = 10.0
# MLflow takes at most 1,000 metrics in a request.
BATCH = 500
# Seconds without an answer that are reported. An attempt fails late, as MLflow's client itself retries for
# minutes.
LATE_SECONDS = 10.0
AGAIN_SECONDS = 5.0
PATIENCE_SECONDS = 900.0
# Errors that pass: a server that is away, or a database that others lock. Any other request would be refused
# again.
PASSING = {ErrorCode.Name(code) for code in (INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE)}


def ignore_message(text: str) -> None:
    """Discard a message."""


class MetricQueue:
    """A queue that holds metrics by run until MLflow has received them.

    Held metrics are not on disk. The metrics of a killed run are in the curves that its training wrote.
    """

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self.held: list[tuple[str, Metric]] = []
        self.changed = threading.Condition()
        self.wanted = self.told = False
        self.refused: Exception | None = None
        self.trying = 0.0
        self.thread: threading.Thread | None = None

    def put_metrics(self, run: str, metrics: list[Metric]) -> None:
        """Queue metrics of a run; they are sent within seconds if MLflow answers."""
        with self.changed:
            self.held += [(run, metric) for metric in metrics]
            if self.thread is None:
                # A daemon thread, as a server that never answers must not keep the process alive.
                self.thread = threading.Thread(target=self._send_batches, name="sender", daemon=True)
                self.thread.start()
            self.changed.notify_all()

    def status_message(self) -> str:
        """Return a sentence if MLflow fell silent or answers again since the last call; else ""."""
        with self.changed:
            late = self.trying and time.monotonic() - self.trying > LATE_SECONDS
            if late and not self.told:
                self.told = True
                return f"MLflow is unreachable; {len(self.held):,} metrics are queued and sent later"
            if self.told and not self.trying:
                self.told = False
                return "MLflow is reachable again; queued metrics are sent"
        return ""

    def flush_metrics(
        self, say: Callable[[str], None] = ignore_message, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until all metrics are sent.

        Args:
            say: Receives messages about a server that is unreachable.
            patience: Seconds to wait at most.

        Raises:
            RuntimeError: MLflow has been unreachable for that long.
            Exception: MLflow refused a request; its error is raised unchanged.
        """
        deadline = time.monotonic() + patience
        with self.changed:
            self.wanted = True
            self.changed.notify_all()
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.refused or not self.held, timeout=1.0)
                done, refused, count = not self.held, self.refused, len(self.held)
                if done or refused:
                    self.wanted, self.refused, self.held = False, None, []
            if said := self.status_message():
                say(said)
            if refused:
                raise refused
            if done:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"MLflow has been unreachable for {patience / 60:.0f} minutes, and {count:,} "
                    "metrics are queued; the next start sends them"
                )

    def _send_batches(self) -> None:
        while True:
            with self.changed:
                # Metrics are collected for a while, since a request costs the same for one as for many.
                self.changed.wait_for(self._is_due, timeout=FLUSH_SECONDS)
                self.changed.wait_for(lambda: bool(self.held) and not self.refused)
                run = self.held[0][0]
                # `log_batch` takes the metrics of one run only.
                batch = [metric for of, metric in self.held[:BATCH] if of == run]
                self.trying = self.trying or time.monotonic()
            try:
                self.client.log_batch(run, metrics=batch)
            except Exception as error:
                passing = isinstance(error, OSError) or (
                    isinstance(error, MlflowException) and error.error_code in PASSING
                )
                if passing:
                    time.sleep(AGAIN_SECONDS)
                    continue
                with self.changed:
                    self.refused = error
                    self.changed.notify_all()
                continue
            with self.changed:
                # By identity: two metrics of the same name, step and value are equal, and more were queued
                # meanwhile.
                sent = {id(metric) for metric in batch}
                self.held = [entry for entry in self.held if id(entry[1]) not in sent]
                self.trying = 0.0
                self.changed.notify_all()

    def _is_due(self) -> bool:
        return bool(self.held) and (self.wanted or len(self.held) >= BATCH)
