"""The files of a registered version in MLflow's store, compared with the manifest of their run."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from model.errors import UserError
from tasks.common.checksums import file_sum
from tasks.drift_detection.profile import MODEL
from tasks.engine.cache_key import output_digest
from tasks.engine.output import MANIFEST, MANIFEST_DIGEST, manifest_digest
from tasks.project.paths import RECORDS
from tasks.tracking.artifact_hosts import PROXIED
from tasks.tracking.queries import child_runs, holder_run_id, read_artifact, run_or_none

DIGEST, _STAGE = "chatmill.digest", "chatmill.stage"
RESTORE = "put it back or restore a backup with `chatmill restore`"
_ADVICE = f"{RESTORE}; or choose another champion with `chatmill rollback`"


class DamagedModel(UserError):
    """A file of a registered version is missing or was changed; the message names it."""


class MissingModel(DamagedModel):
    """The folder with the files of a registered version is missing in MLflow's store."""


def download_model(version: Any, uri: str, scratch: str) -> Path:
    """Return the folder of a registered version's model; fetch it if the store is not local.

    Args:
        version: A version of a registered model.
        uri: The address of MLflow's store.
        scratch: The folder for files fetched from a server. The caller removes it.

    Raises:
        DamagedModel: A file was changed, removed or added since the version was registered.
    """
    named = f"version {version.version} of {version.name}"
    try:
        # Files of a store without a server are read in place.
        place = scratch if uri.startswith("http") else None
        folder = Path(download_artifacts(artifact_uri=version.source, tracking_uri=uri, dst_path=place))
    except (MlflowException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingModel(
            f"{named}: MLflow's store lacks the folder {MODEL}/ or its files ({first}); {_ADVICE}"
        ) from error
    if not folder.is_dir():
        raise DamagedModel(f"{named}: {folder} does not contain the model's files; {_ADVICE}")
    if damaged := damaged_file(version, uri, model_sums(folder)):
        path = folder.parent / damaged
        raise DamagedModel(f"{named}: {path} {describe_damage(path)}, so the model is not used; {_ADVICE}")
    return folder


def describe_damage(path: Path) -> str:
    """Return how a file differs from the registered one, as a predicate."""
    if not os.path.lexists(path):
        return "is missing"
    if path.is_dir() and path.name != MODEL:
        return "is a folder in place of the registered file"
    return "differs from the registered file"


def model_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a model's folder, by its path from the parent folder.

    Anything but a regular file has an empty text: reading a named pipe would never end.

    Raises:
        PermissionError: The folder, or one in it, may not be listed. Its files are not missing then.
    """
    # rglob leaves out what it may not list.
    for _ in os.walk(folder, onerror=_raise_error):
        pass
    return {
        f"{MODEL}/{path.relative_to(folder).as_posix()}": file_sum(path) if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        # A link to a folder counts as a file, since its target may be anywhere.
        if path.is_symlink() or not path.is_dir()
    }


def _raise_error(error: OSError) -> None:
    raise error


def damaged_file(version: Any, uri: str, sums: Mapping[str, str]) -> str:
    """Return the first file of a version that differs from its run's manifest; else an empty text.

    Args:
        version: A version of a registered model.
        uri: The address of MLflow's store.
        sums: The SHA-256 of the present files by path, from `model_sums`.
    """
    client = MlflowClient(tracking_uri=uri)
    run = run_or_none(client, str(version.run_id))
    manifest = read_artifact(client, run, MANIFEST) if run else None
    digest = str(run.data.tags.get(DIGEST, "")) if run else ""
    return differing_file(manifest, digest, sums)


def differing_file(manifest: Any, digest: str, sums: Mapping[str, str]) -> str:
    """Return the first file that differs from a manifest, or the manifest's own name; else an empty text.

    Args:
        manifest: The manifest that MLflow keeps; None if it is missing or not JSON.
        digest: The digest of the output in the run's tags; empty for a run that recorded none.
        sums: The SHA-256 of the model's present files by path.
    """
    # Whoever can change a file in the store can change the manifest too; the digest is in the database.
    if digest and not _is_intact(manifest, digest):
        return MANIFEST
    wanted = manifest.get("sums") if isinstance(manifest, Mapping) else None
    if not isinstance(wanted, Mapping):
        # Runs of older versions recorded no checksums, so no damage can be known.
        return ""
    names = {name for name in wanted if name.startswith(f"{MODEL}/")} | set(sums)
    return next((name for name in sorted(names) if sums.get(name) != wanted.get(name)), "")


def damaged_copies(client: MlflowClient, parent: Run) -> list[str]:
    """Return a sentence for each model of a pipeline run whose copy in MLflow is not what the run made.

    A missing copy is no damage: `chatmill gc` removes copies of old runs.
    """
    said = []
    for child in child_runs(client, parent):
        stage, holder = child.data.tags.get(_STAGE, ""), run_or_none(client, holder_run_id(child))
        manifest = read_artifact(client, holder, MANIFEST) if holder else None
        if holder is None or (isinstance(manifest, Mapping) and not _names_model(manifest.get("sums") or {})):
            continue
        uri = str(client.tracking_uri)
        with TemporaryDirectory() as scratch, suppress(MlflowException, OSError):
            folder = Path(
                download_artifacts(
                    artifact_uri=f"{holder.info.artifact_uri}/{MODEL}",
                    tracking_uri=uri,
                    dst_path=scratch if uri.startswith("http") else None,
                )
            )
            digest = holder.data.tags.get(DIGEST, "")
            if folder.is_dir() and (name := differing_file(manifest, digest, model_sums(folder))):
                run = holder.info.run_id[:12]
                said.append(f"{stage}: MLflow's copy of {name} (run {run}) differs from what the run made")
    return said


def _names_model(sums: Mapping[str, str]) -> bool:
    return any(name.startswith(f"{MODEL}/") for name in sums)


def damaged_versions(database: Path, folder: str, sums: Mapping[str, str], root: Path) -> list[str]:
    """Return a sentence for each registered version with a damaged or missing file in a local store.

    Args:
        database: MLflow's SQLite database, or a copy of it.
        folder: The folder of MLflow's files, relative to var/.
        sums: The SHA-256 of each file in var/ by path.
        root: The project's folder.
    """
    query = (
        "select v.name, v.version, v.source, t.value from model_versions v "
        f"left join tags t on t.run_uuid = v.run_id and t.key = '{DIGEST}' "
        # MLflow keeps the rows of deleted versions.
        "where v.current_stage != 'Deleted_Internal' order by v.name, v.version"
    )
    with closing(sqlite3.connect(database)) as store:
        rows = store.execute(query).fetchall()
    said = []
    for name, version, source, digest in rows:
        scheme, _, address = str(source).partition(":")
        # The files of any other address are not in this project's folder.
        if scheme != PROXIED:
            continue
        place = f"{folder}/{unquote(address).strip('/')}"
        above = place.rpartition("/")[0]
        try:
            manifest = json.loads((root / RECORDS / above / MANIFEST).read_bytes())
        except (OSError, ValueError, RecursionError):
            manifest = None
        here = {
            each.removeprefix(f"{above}/"): found
            for each, found in sums.items()
            if each.startswith(f"{place}/")
        }
        damaged = differing_file(manifest, digest or "", here) or ("" if here else MODEL)
        if damaged:
            path = RECORDS / above / damaged
            said.append(f"version {version} of {name}: {path} {describe_damage(root / path)}")
    return said


def _is_intact(manifest: Any, digest: str) -> bool:
    """Return whether a manifest is the one written with the output of this digest."""
    if not isinstance(manifest, Mapping) or manifest.get("digest") != digest:
        return False
    if MANIFEST_DIGEST in manifest and manifest[MANIFEST_DIGEST] != manifest_digest(dict(manifest)):
        return False
    sums = manifest.get("sums")
    return sums is None or (isinstance(sums, Mapping) and output_digest(sums) == digest)
