"""The champion's model as an input of evaluate, so that it is scored beside the candidate in one run.

The folder is var/cache/artifacts/champion/KEY with champion.json and model/, as for the stage drift. The key
depends on the digest of the model alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from model.launch import Report
from tasks.baseline import STAGE, link
from tasks.keys import file_sums
from tasks.lineage import artifact
from tasks.locks import alone
from tasks.output import LOCK, MANIFEST, PART, WAITS, Reference, put, sizes, usable_output, write_manifest
from tasks.profile import ABOUT, MODEL
from tasks.project_paths import ARTIFACTS


def fetch_opponent(version: Any, uri: str, root: Path, report: Report) -> Reference | None:
    """Return the model of a registered version as a stage takes it; None where MLflow has lost the model.

    Args:
        version: a version of the registered model, with the tag `digest`.
        uri: the address of MLflow's store.
        root: the project's folder.
        report: takes the events of waiting for another process.
    """
    about, digest = _about(version), opponent_digest(version)
    folder = root / ARTIFACTS / STAGE / digest[:20]
    with alone(folder.with_suffix(LOCK), report, WAITS):
        manifest = usable_output(STAGE, folder, root, report) or _fetch(
            version, uri, folder, about, digest, report
        )
    if manifest is None:
        return None
    return Reference(STAGE, folder.name, str(folder), digest, True, 0.0, {}, str(version.run_id))


def opponent_digest(version: Any) -> str:
    """Return the digest that evaluate's manifest has of a champion that was scored."""
    return hashlib.sha256(_about(version).encode()).hexdigest()


def _about(version: Any) -> str:
    return json.dumps({"model": version.tags.get("digest", "")})


def _fetch(
    version: Any, uri: str, folder: Path, about: str, digest: str, report: Report
) -> dict[str, Any] | None:
    began = time.monotonic()
    part = folder.with_suffix(PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with suppress(MlflowException, OSError):
        model = Path(download_artifacts(artifact_uri=version.source, tracking_uri=uri))
        shutil.copytree(model, part / MODEL, copy_function=link)
    if not (part / MODEL).is_dir():
        shutil.rmtree(part)
        return None
    (part / ABOUT).write_text(about, encoding="utf-8")
    sums = file_sums(part)
    if damaged := _damaged_file(version, uri, sums):
        text = (
            f"version {version.version} of {version.name}: MLflow's {damaged} is not the file that was "
            "registered, so the model is not used; `chatmill restore` brings a backup's back"
        )
        report({"event": "message", "text": text})
        shutil.rmtree(part)
        return None
    manifest = {
        "stage": STAGE, "key": folder.name, "digest": digest, "inputs": {}, "metrics": {},
        "seconds": round(time.monotonic() - began, 3), "files": sizes(part), "sums": sums,
        "run": str(version.run_id),
    }  # fmt: skip
    write_manifest(part, manifest)
    put(part, folder)
    return manifest


def _damaged_file(version: Any, uri: str, sums: Mapping[str, str]) -> str:
    """Return a file of the model that is not as its run's manifest has it; else an empty text.

    `sums` are those of the fetched files. A run of an older chatmill kept no manifest with sums; nothing is
    known to be damaged then.
    """
    manifest = artifact(MlflowClient(tracking_uri=uri), str(version.run_id), MANIFEST) or {}
    wanted: Mapping[str, str] = manifest.get("sums") or {}
    names = sorted(name for name in wanted if name.startswith(f"{MODEL}/"))
    return next((name for name in names if sums.get(name) != wanted[name]), "")
