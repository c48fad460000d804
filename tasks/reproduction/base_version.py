"""The registered model that a past run began from, fetched before the run is made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from model.errors import UserError
from tasks.data.base_models.base_model import parse_registered, registered_folder
from tasks.tracking.registered_base import pin_registered_base


def fetch_registered_base(
    client: MlflowClient, root: Path, run: str, preset: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Fetch the files of a run's base, if that is a registered model and its files were removed.

    The run's own code has a store without the version, so it cannot fetch them.

    Args:
        client: A client of the project's MLflow store.
        root: The project's folder.
        run: The run's id, for messages.
        preset: The run's preset.
        say: Receives messages about the progress.

    Raises:
        UserError: MLflow lacks the version or its files, or they were changed.
    """
    base = parse_registered(str(preset.get("base_model") or ""))
    if base is None:
        return
    if not (base.digest and registered_folder(base, root).is_dir()):
        say(f"fetching its base, version {base.version} of {base.product}, from MLflow")
    try:
        pin_registered_base(base, client, root, lambda event: None)
    except UserError as error:
        raise UserError(
            f"run {run} began from version {base.version} of {base.product}, which cannot be had: {error}"
        ) from error
