"""What a past run was compared with: the reference version of the data, and the champion of its time."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

from mlflow import MlflowClient

from tasks.common.old_keys import recorded_key
from tasks.reproduction.checkout import Checkout
from tasks.reproduction.recorded_run import RecordedRun
from tasks.tracking.champion_input import fetch_champion_model, opponent_digest
from tasks.tracking.products import MODEL, product_named
from tasks.tracking.reference_version import STAGE as CHAMPION
from tasks.tracking.reference_version import fetch_reference_version, of_version
from tasks.tracking.registered_model import DamagedModel
from tasks.tracking.registry import Registry

# The gate and the report depend on evaluate.
FOLLOW_EVALUATE = ("evaluate", "gate", "report")


def compared_as_then(client: MlflowClient, original: RecordedRun, checkout: Checkout) -> dict[str, str]:
    """Make drift and evaluate in the checkout compare with the champion of that time.

    The checkout's own registry has no champion, so the profile and the model come from MLflow.

    Returns:
        The stages to leave out, by name, with the reason: what they were compared with is gone.
    """
    return {
        **_drift_as_then(client, original, checkout),
        **_evaluate_as_then(client, original, checkout),
    }


def _drift_as_then(client: MlflowClient, original: RecordedRun, checkout: Checkout) -> dict[str, str]:
    given, stage = _champion_of(original, "drift")
    if not given:
        return {}
    version = stage["metrics"]["against"]
    found = next(
        (
            each
            for each in (of_version(one, version) for one in _find_registries(client, original))
            if each and each.digest == given
        ),
        None,
    )
    if found is None:
        return {"drift": f"MLflow no longer has version {version}, the champion at that time"}
    try:
        brought = fetch_reference_version(
            found, client, client.tracking_uri, checkout.project, lambda event: None
        )
    except DamagedModel as error:
        return {"drift": str(error)}
    if brought is None:
        return {"drift": f"the profile of champion {version}'s data is missing in MLflow"}
    _set_preset_key(checkout, "drift.reference_output", found.key)
    return {}


def _evaluate_as_then(client: MlflowClient, original: RecordedRun, checkout: Checkout) -> dict[str, str]:
    given, _ = _champion_of(original, "evaluate")
    if not given:
        return {}
    for registry in _find_registries(client, original):
        for version in registry.versions():
            if opponent_digest(version) == given:
                uri, project = client.tracking_uri, checkout.project
                try:
                    found = fetch_champion_model(version, uri, project, lambda event: None)
                except DamagedModel as error:
                    return dict.fromkeys(FOLLOW_EVALUATE, str(error))
                _set_preset_key(checkout, "registry.compare_with", found.key)
                return {}
    reason = "the champion's model that was scored beside it is missing in MLflow"
    return dict.fromkeys(FOLLOW_EVALUATE, reason)


def _champion_of(original: RecordedRun, stage: str) -> tuple[str, dict[str, Any]]:
    """Return the digest of the champion that a stage was given, or "", and the stage's manifest."""
    manifest = next((made.manifest for made in original.stages if made.stage == stage), None) or {}
    given = manifest.get("inputs", {}).get(CHAMPION) or {}
    return str(given.get("digest", "")), dict(manifest)


def _find_registries(client: MlflowClient, original: RecordedRun) -> list[Registry]:
    """Return the registry of the run's product, and the one of stores without products."""
    preset = original.preset
    name = (preset.get("registry") or {}).get("model") or preset.get("name") or MODEL
    products = dict.fromkeys((product_named(str(name)), product_named(MODEL)))
    return [Registry(client, nullcontext, product) for product in products]


def _set_preset_key(checkout: Checkout, name: str, value: str) -> None:
    preset = json.loads(checkout.preset.read_text(encoding="utf-8"))
    # Under the name that the checkout's own code reads.
    section, _, key = recorded_key(preset, name).partition(".")
    preset[section] = {**(preset.get(section) or {}), key: value}
    checkout.preset.write_text(json.dumps(preset, indent=1), encoding="utf-8")
