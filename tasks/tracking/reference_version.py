"""The reference for drift: the newest champion that learned from other data.

MLflow keeps its profile and its model with its runs, so its data need not be on this machine. They are
fetched to var/cache/artifacts/champion/KEY, beside the outputs of stages, and `gc` removes them when
unused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from model.errors import UserError
from model.events import EventCallback
from tasks.common.file_lock import exclusive_lock
from tasks.drift_detection.profile import ABOUT, FILE, IDS, MODEL
from tasks.engine.cache_key import folder_sums
from tasks.engine.output import (
    LOCK,
    MANIFEST,
    PART,
    WAITS,
    StageOutput,
    file_sizes,
    publish_output,
    read_manifest,
    usable_output,
    write_manifest,
)
from tasks.project.paths import ARTIFACTS
from tasks.tracking.queries import (
    PARENT,
    artifact_text,
    child_runs,
    data_hash,
    holder_run_id,
    read_artifact,
    run_or_none,
    search_runs,
)
from tasks.tracking.registered_model import DamagedModel, MissingModel, differing_file, download_model
from tasks.tracking.registry import Registry

STAGE = "champion"
# Evaluation's metrics of the aligned model that are kept as the champion's held-out losses.
_HELD_OUT = {"bits_per_byte": "aligned_bits_per_byte", "completion_loss": "aligned_completion_loss"}


@dataclass(frozen=True)
class Baseline:
    """A version of the model, with the hash of the data that it learned from.

    Attributes:
        version: The version's number.
        data: DVC's hash of the data.
        model: The digest of the output of rlhf.
        profile: The digest of the output of drift.
        held_out: Losses on held-out rows.
        runs: The runs of these two stages.
        registered: The name of the registered model.
    """

    version: str
    data: str
    model: str
    profile: str
    held_out: dict[str, float]
    runs: tuple[str, str]
    registered: str

    @property
    def about(self) -> str:
        """The properties that do not depend on where the version is kept, as JSON."""
        kept = {name: value for name, value in asdict(self).items() if name not in ("runs", "registered")}
        return json.dumps(kept, indent=1)

    @property
    def digest(self) -> str:
        """The SHA-256 of `about`."""
        return hashlib.sha256(self.about.encode()).hexdigest()

    @property
    def key(self) -> str:
        """The name of the folder."""
        return self.digest[:20]


def newest_other(registry: Registry, data: str) -> tuple[Baseline | None, str]:
    """Return the newest present or former champion that learned from other data than `data`.

    Returns:
        The champion, or None; and the reason for None, if a person can act on it.
    """
    known = {str(found.version): found for found in registry.versions()}
    for version in dict.fromkeys(move.now for move in reversed(registry.moves())):
        if version not in known:
            continue
        made = run_or_none(registry.client, str(known[version].run_id))
        learned = data_hash(made) if made else None
        if not learned or learned == data:
            continue
        found = _describe_baseline(registry.client, known[version], learned)
        if found is None:
            return None, (
                f"champion {version} was trained on other data whose profile was not recorded; the "
                "next champion's profile will be"
            )
        return found, ""
    return None, ""


def of_version(registry: Registry, version: str) -> Baseline | None:
    """Return the baseline of one version; None if MLflow no longer has the required files."""
    found = next((each for each in registry.versions() if str(each.version) == version), None)
    made = run_or_none(registry.client, str(found.run_id)) if found else None
    learned = data_hash(made) if made else None
    return _describe_baseline(registry.client, found, learned) if learned else None


def _describe_baseline(client: MlflowClient, version: Any, data: str) -> Baseline | None:
    made = str(version.run_id)
    stages: dict[str, Run] = {}
    for pipeline in _pipeline_runs(client, made):
        for run in child_runs(client, pipeline):
            tags = run.data.tags
            # A killed run may lack files.
            if run.info.status == "FINISHED" and tags.get("chatmill.key") and data_hash(run) == data:
                stages.setdefault(tags.get("chatmill.stage", ""), run)
        # Otherwise continue: a later run with the same model may have the stage that this one was killed
        # before, or did not have yet.
        if {"drift", "evaluate"} <= stages.keys():
            break
    if "drift" not in stages:
        return None
    figures = stages["evaluate"].data.metrics if "evaluate" in stages else {}
    held_out = {name: round(figures[of], 6) for name, of in _HELD_OUT.items() if of in figures}
    model, profile = version.tags.get("digest", ""), stages["drift"].data.tags["chatmill.digest"]
    runs = (made, holder_run_id(stages["drift"]))
    return Baseline(str(version.version), data, model, profile, held_out, runs, str(version.name))


def _pipeline_runs(client: MlflowClient, made: str) -> Iterator[Run]:
    """Yield the pipeline runs that made or reused a model, the oldest first."""
    first = run_or_none(client, client.get_run(made).data.tags.get(PARENT, ""))
    if first:
        yield first
    oldest = ("attributes.start_time ASC",)
    for run in search_runs(client, f"tags.`chatmill.reuses` = '{made}'", order=oldest):
        if found := run_or_none(client, run.data.tags.get(PARENT, "")):
            yield found


def fetch_reference_version(
    found: Baseline, client: MlflowClient, uri: str, root: Path, on_event: EventCallback
) -> StageOutput | None:
    """Return the reference as a stage's input, and fetch it if it is not cached.

    If only its model is missing in MLflow, the model is left out.

    Returns:
        The input; None if the profile is missing in MLflow.

    Raises:
        DamagedModel: A file of the profile or of the model differs from the recorded one.
    """
    folder = root / ARTIFACTS / STAGE / found.key
    with exclusive_lock(folder.with_suffix(LOCK), on_event, WAITS):
        if not usable_output(STAGE, folder, root, on_event) and not _fetch_profile(
            found, client, uri, folder
        ):
            return None
    return StageOutput(STAGE, found.key, str(folder), found.digest, True, 0.0, {}, found.runs[0])


def _fetch_profile(found: Baseline, client: MlflowClient, uri: str, folder: Path) -> bool:
    with TemporaryDirectory() as scratch:
        return _fetch_files(found, client, uri, folder, scratch)


def _fetch_files(found: Baseline, client: MlflowClient, uri: str, folder: Path, scratch: str) -> bool:
    began = time.monotonic()
    texts = {name: artifact_text(client, found.runs[1], name) for name in (FILE, IDS)}
    if None in texts.values():
        return False
    sums = {name: hashlib.sha256((text or "").encode()).hexdigest() for name, text in texts.items()}
    if damaged := differing_file(read_artifact(client, found.runs[1], MANIFEST), found.profile, sums):
        raise DamagedModel(
            f"the profile of the data of version {found.version} of {found.registered}: {damaged} differs "
            "from the recorded file; restore a backup with `chatmill restore`"
        )
    model: Path | None = None
    # Only a missing model is tolerated; the other DamagedModel errors are raised.
    with suppress(MissingModel, MlflowException):
        model = download_model(client.get_model_version(found.registered, found.version), uri, scratch)
    part = folder.with_suffix(PART)
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        for name, text in texts.items():
            (part / name).write_text(text or "", encoding="utf-8")
        (part / ABOUT).write_text(found.about, encoding="utf-8")
        if model:
            shutil.copytree(model, part / MODEL, copy_function=link_or_copy)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    manifest = {
        "stage": STAGE, "key": found.key, "digest": found.digest, "inputs": {}, "metrics": {},
        "seconds": round(time.monotonic() - began, 3), "files": file_sizes(part), "sums": folder_sums(part),
        "run": found.runs[0],
    }  # fmt: skip
    write_manifest(part, manifest)
    publish_output(part, folder)
    return True


def link_or_copy(there: str, here: str) -> None:
    """Create a hard link to a file; copy the file if it is on another disk."""
    try:
        os.link(there, here)
    except OSError:
        shutil.copy2(there, here)


def find_by_key(key: str, root: Path, preset_key: str = "drift.reference_output") -> StageOutput:
    """Return a reference that was fetched before, by its key.

    Args:
        key: The name of the folder.
        root: The project's folder.
        preset_key: The key of the preset that names the folder, for messages.

    Raises:
        UserError: There is no such folder.
    """
    folder = root / ARTIFACTS / STAGE / key
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(
            f"{preset_key} is {key}; {ARTIFACTS}/{STAGE} has no such folder; leave the key empty to "
            "compare with the registry's champion"
        )
    return StageOutput(STAGE, key, str(folder), manifest["digest"], True, 0.0, {}, manifest["run"])
