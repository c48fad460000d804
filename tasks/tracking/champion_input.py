"""The champion's model as an input of evaluate, so that one run scores it beside the candidate.

The folder is var/cache/artifacts/champion/KEY with champion.json and model/, as for the stage drift. The key
depends only on the digest of the model.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model.events import EventCallback
from tasks.common.file_lock import exclusive_lock
from tasks.drift_detection.profile import ABOUT, MODEL
from tasks.engine.cache_key import folder_sums
from tasks.engine.output import (
    LOCK,
    PART,
    WAITS,
    StageOutput,
    file_sizes,
    publish_output,
    usable_output,
    write_manifest,
)
from tasks.project.paths import ARTIFACTS
from tasks.tracking.reference_version import STAGE, link_or_copy
from tasks.tracking.registered_model import download_model


def fetch_champion_model(version: Any, uri: str, root: Path, on_event: EventCallback) -> StageOutput:
    """Return the model of a registered version as a stage's input.

    Args:
        version: A version of the registered model, with the tag `digest`.
        uri: The address of MLflow's store.
        root: The project's folder.
        on_event: Receives an event while another process is waited for.

    Raises:
        DamagedModel: MLflow's store has lost the model, or has other files than were registered.
    """
    about, digest = _describe_version(version), opponent_digest(version)
    folder = root / ARTIFACTS / STAGE / digest[:20]
    with exclusive_lock(folder.with_suffix(LOCK), on_event, WAITS):
        if not usable_output(STAGE, folder, root, on_event):
            _fetch_model(version, uri, folder, about, digest)
    return StageOutput(STAGE, folder.name, str(folder), digest, True, 0.0, {}, str(version.run_id))


def opponent_digest(version: Any) -> str:
    """Return the digest that evaluate's manifest records for a scored champion."""
    return hashlib.sha256(_describe_version(version).encode()).hexdigest()


def _describe_version(version: Any) -> str:
    # Neither the version's number nor its run: the same model registered again must give the same key.
    return json.dumps({"model": version.tags.get("digest", "")})


def _fetch_model(version: Any, uri: str, folder: Path, about: str, digest: str) -> None:
    began = time.monotonic()
    part = folder.with_suffix(PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with TemporaryDirectory() as scratch:
            # A hard link saves the room of a second copy of the weights.
            model = download_model(version, uri, scratch)
            shutil.copytree(model, part / MODEL, copy_function=link_or_copy)
        (part / ABOUT).write_text(about, encoding="utf-8")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    manifest = {
        "stage": STAGE, "key": folder.name, "digest": digest, "inputs": {}, "metrics": {},
        "seconds": round(time.monotonic() - began, 3), "files": file_sizes(part), "sums": folder_sums(part),
        "run": str(version.run_id),
    }  # fmt: skip
    write_manifest(part, manifest)
    publish_output(part, folder)
