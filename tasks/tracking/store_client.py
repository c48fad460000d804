"""The client of an MLflow store that several runs write to at once.

For most writes MLflow reads whether a row exists, then inserts it. If another process inserts the row in
between, the database refuses the second insertion, and MLflow raises an error. Runs of one project do this
often. They record the same data set, and two runs that reuse an output write to the run that made it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from tasks.project.database_templates import MLFLOW, copy_template
from tasks.tracking.local_artifacts import SQLITE

# Texts of SQLite and PostgreSQL for a row that another process inserted meanwhile. MLflow passes the text on,
# but not the kind of the error.
CONFLICTS = ("unique constraint failed", "duplicate key value violates unique constraint")
ATTEMPTS = 5
_Result = TypeVar("_Result")


class StoreClient(MlflowClient):
    """A client that repeats a write which another process made impossible by inserting the same row.

    The repeated write finds that row and changes it.
    """

    def set_tag(self, *arguments: Any, **named: Any) -> Any:
        """Set a tag of a run."""
        return repeat_conflicts(lambda: super(StoreClient, self).set_tag(*arguments, **named))

    def log_inputs(self, *arguments: Any, **named: Any) -> None:
        """Record data sets as inputs of a run."""
        repeat_conflicts(lambda: super(StoreClient, self).log_inputs(*arguments, **named))

    def set_registered_model_tag(self, *arguments: Any, **named: Any) -> None:
        """Set a tag of a registered model."""
        repeat_conflicts(lambda: super(StoreClient, self).set_registered_model_tag(*arguments, **named))

    def set_model_version_tag(self, *arguments: Any, **named: Any) -> None:
        """Set a tag of a model version."""
        repeat_conflicts(lambda: super(StoreClient, self).set_model_version_tag(*arguments, **named))

    def set_registered_model_alias(self, *arguments: Any, **named: Any) -> None:
        """Point an alias at a model version."""
        repeat_conflicts(lambda: super(StoreClient, self).set_registered_model_alias(*arguments, **named))

    def create_missing_experiment(self, name: str, place: str | None) -> Experiment:
        """Create an experiment that the store lacks; return that of another host if it was faster.

        Args:
            name: The experiment's name.
            place: The address of its files; None: the store decides.
        """
        try:
            return self.get_experiment(self.create_experiment(name, place))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        found = self.get_experiment_by_name(name)
        assert found is not None
        return found


def open_store(uri: str) -> StoreClient:
    """Return a client of the store at `uri`; a missing SQLite database is created.

    The caller holds a lock: two processes that create the database at the same time break it.
    """
    # Their messages about new tables would appear among the run's own output.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # MLflow logs a traceback for each failed statement; the caller gets the error itself.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if uri.startswith(SQLITE) and "?" not in uri:
        copy_template(MLFLOW, Path(uri.removeprefix(SQLITE)))
    return StoreClient(tracking_uri=uri, registry_uri=uri)


def repeat_conflicts(write: Callable[[], _Result]) -> _Result:
    """Make a write, and make it again if another process inserted the same row meanwhile."""
    for _ in range(ATTEMPTS - 1):
        try:
            return write()
        except MlflowException as error:
            text = str(error).lower()
            if not any(said in text for said in CONFLICTS):
                raise
    return write()
