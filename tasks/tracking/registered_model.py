"""The files of a registered version in MLflow's store, compared with the manifest of their run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from model.errors import UserError
from tasks.common.checksums import file_sum
from tasks.drift_detection.profile import MODEL
from tasks.engine.cache_key import output_digest
from tasks.engine.output import MANIFEST, SEAL, manifest_digest
from tasks.project.paths import RECORDS
from tasks.tracking.artifact_hosts import PROXIED
from tasks.tracking.queries import read_artifact, run_or_none

_DIGEST = "chatmill.digest"
_ADVICE = (
    "put it back, or `chatmill restore` brings a backup's back; `chatmill rollback` makes another version "
    "champion"
)


class DamagedModel(UserError):
    """A file of a registered version is missing or not the one that was registered; the text names it."""


class MissingModel(DamagedModel):
    """The folder with the files of a registered version is gone from MLflow's store."""


def download_model(version: Any, uri: str, scratch: str = "") -> Path:
    """Return the folder of a registered version's model, fetched where the store is elsewhere.

    Args:
        version: a version of a registered model.
        uri: the address of MLflow's store.
        scratch: the folder that files of a server are written to; none: a temporary one that stays.

    Raises:
        DamagedModel: a file was changed, removed or added since the version was registered.
    """
    named = f"version {version.version} of {version.name}"
    try:
        # Files of a store without a server are read where they are.
        place = scratch if scratch and uri.startswith("http") else None
        folder = Path(download_artifacts(artifact_uri=version.source, tracking_uri=uri, dst_path=place))
    except (MlflowException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingModel(
            f"{named}: MLflow's store does not give the folder {MODEL}/ with its files ({first}); {_ADVICE}"
        ) from error
    if not folder.is_dir():
        raise DamagedModel(f"{named}: {folder} is not a folder with the model's files; {_ADVICE}")
    if damaged := damaged_file(version, uri, model_sums(folder)):
        raise DamagedModel(
            f"{named}: {folder.parent / damaged} is not the file that was registered, so the model is not "
            f"used; {_ADVICE}"
        )
    return folder


def model_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a model's folder, by its path from the folder above.

    Anything but a regular file has an empty text: a named pipe is never opened, as reading it never ends.
    """
    return {
        f"{MODEL}/{path.relative_to(folder).as_posix()}": file_sum(path) if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def damaged_file(version: Any, uri: str, sums: Mapping[str, str]) -> str:
    """Return the first file of a version that is not as its run's manifest has it; else an empty text.

    Args:
        version: a version of a registered model.
        uri: the address of MLflow's store.
        sums: the SHA-256 of the files as they are now, by path, as `model_sums` returns them.
    """
    client = MlflowClient(tracking_uri=uri)
    run = run_or_none(client, str(version.run_id))
    manifest = read_artifact(client, run, MANIFEST) if run else None
    digest = str(run.data.tags.get(_DIGEST, "")) if run else ""
    return differing_file(manifest, digest, sums)


def differing_file(manifest: Any, digest: str, sums: Mapping[str, str]) -> str:
    """Return the first file that differs from a manifest, or the manifest's own name; else an empty text.

    Args:
        manifest: what MLflow has of the run's manifest; None where it is missing or no JSON.
        digest: the digest of the output that MLflow's run has; empty for a run that kept none.
        sums: the SHA-256 of the model's files as they are now, by path.
    """
    if digest and not _is_intact(manifest, digest):
        return MANIFEST
    wanted = manifest.get("sums") if isinstance(manifest, Mapping) else None
    if not isinstance(wanted, Mapping):
        # A run of an older chatmill kept no sums: nothing is known to be damaged.
        return ""
    names = {name for name in wanted if name.startswith(f"{MODEL}/")} | set(sums)
    return next((name for name in sorted(names) if sums.get(name) != wanted.get(name)), "")


def damaged_versions(database: Path, folder: str, sums: Mapping[str, str], root: Path) -> list[str]:
    """Return a sentence for each registered version that has a damaged or missing file in a local store.

    Args:
        database: MLflow's SQLite database, or a copy of it.
        folder: the folder of MLflow's files, relative to var/.
        sums: the SHA-256 of each file in var/, by path.
        root: the project's folder.
    """
    query = (
        "select v.name, v.version, v.source, t.value from model_versions v "
        f"left join tags t on t.run_uuid = v.run_id and t.key = '{_DIGEST}' "
        "where v.current_stage != 'Deleted_Internal' order by v.name, v.version"
    )
    with closing(sqlite3.connect(database)) as store:
        rows = store.execute(query).fetchall()
    said = []
    for name, version, source, digest in rows:
        scheme, _, address = str(source).partition(":")
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
            said.append(f"version {version} of {name}: {path} is not the file that was registered")
    return said


def _is_intact(manifest: Any, digest: str) -> bool:
    """Return whether a manifest is the one that was written with an output of this digest."""
    if not isinstance(manifest, Mapping) or manifest.get("digest") != digest:
        return False
    if SEAL in manifest and manifest[SEAL] != manifest_digest(dict(manifest)):
        return False
    sums = manifest.get("sums")
    return sums is None or (isinstance(sums, Mapping) and output_digest(sums) == digest)
