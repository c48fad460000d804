"""Open the project's MLflow store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.project.paths import MLFLOW_FOLDER

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.tracking.tracker import Tracker


EXPERIMENT = "chatmill"


def open_tracker(mlflow: str = "", experiment: str = EXPERIMENT, product: str = "") -> Tracker:
    """MLflow's store of this project, or that of a preset's `tracking`; its registry is the product's."""
    from flows.servers.environment import prepare_environment

    place = prepare_environment(Path.cwd(), mlflow)
    # After the environment is set, as MLflow reads it when it is imported.
    from tasks.tracking.tracker import Tracker

    return Tracker(place.mlflow, experiment, place.root / MLFLOW_FOLDER, *([product] if product else []))


def open_store() -> tuple[MlflowClient, Path]:
    """MLflow's store of this project, and the project's folder."""
    return open_tracker().client, Path.cwd()
