"""Access to the project's MLflow store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.project.dry_run import may_write, temporary_folder
from tasks.project.paths import MLFLOW_DATABASE, MLFLOW_FOLDER

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.tracking.tracker import Tracker


EXPERIMENT = "chatmill"


def open_tracker(mlflow: str = "", experiment: str = EXPERIMENT, product: str = "") -> Tracker:
    """Return a tracker of the project's MLflow store, or of the store that a preset's `tracking` names.

    Args:
        mlflow: The store's address; empty: the project's own.
        experiment: The experiment's name.
        product: The product whose registry the tracker has; empty: the default.
    """
    from flows.servers.environment import prepare_environment

    settings = prepare_environment(Path.cwd(), mlflow)
    uri, own = settings.mlflow, settings.root / MLFLOW_DATABASE
    if uri == f"sqlite:///{own}" and not own.exists() and not may_write():
        # Opening a store creates it where it is missing.
        uri = f"sqlite:///{temporary_folder() / own.name}"
    # MLflow reads its settings when it is imported, so the environment must be set first.
    from tasks.tracking.tracker import Tracker

    return Tracker(uri, experiment, settings.root / MLFLOW_FOLDER, *([product] if product else []))


def open_store() -> tuple[MlflowClient, Path]:
    """Return a client of the project's MLflow store, and the project's folder."""
    return open_tracker().client, Path.cwd()
