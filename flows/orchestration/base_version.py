"""The version of a registered model that a preset names as its base, found before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.config import Preset
from model.errors import UserError
from model.events import EventCallback, ignore_event
from tasks.data.base_models.base_model import parse_registered
from tasks.project.paths import STORES

if TYPE_CHECKING:
    from tasks.tracking.tracker import Tracker


def base_tags(preset: Preset) -> dict[str, str]:
    """Return the tag of a pipeline run that names its base, if that is a registered model."""
    base = parse_registered(preset.base_model)
    return {"base.model": base.address} if base else {}


def pin_base_version(
    preset: Preset, tracker: Tracker, root: Path, on_event: EventCallback = ignore_event
) -> Preset:
    """Return a preset whose `base_model` names a version's number and digest, if it is a registered model.

    The record of the run, the cache keys and the lineage then name the version that was used, also if the
    preset says `champion`.

    Raises:
        UserError: There is no such version, its files changed, or it has used rows withdrawn since.
    """
    base = parse_registered(preset.base_model)
    if base is None:
        return preset
    # MLflow takes a second to import.
    from tasks.deletion.learned_rows import refuse_withdrawn_base
    from tasks.tracking.registered_base import pin_registered_base

    found = pin_registered_base(base, tracker.client, root, on_event)
    refuse_withdrawn_base(tracker, root, found.text)
    return preset.model_copy(update={"base_model": found.text})


def preview_base_version(preset: Preset, root: Path, on_event: EventCallback) -> Preset:
    """Return the same as `pin_base_version` for a dry run, which must not create a store."""
    if parse_registered(preset.base_model) is None:
        return preset
    # The commands import that module, and a run imports its own from the snapshot of the sources.
    from flows.orchestration.tracker import open_tracker

    tracking = preset.tracking
    if not tracking.mlflow and not (root / STORES).exists():
        raise UserError(f"base_model: {preset.base_model}: no model is registered here yet")
    return pin_base_version(preset, open_tracker(tracking.mlflow, tracking.experiment), root, on_event)
