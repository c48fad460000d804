"""Where the files of MLflow's runs stand: under one address, whether they go through a server or not.

An experiment names the place of its files once, when it is made. `mlflow-artifacts:` is whatever MLflow's
server passes on, so that every host has it right; a program that writes to the store without a server finds
there the folder that the server would take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import get_tracking_uri
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from tasks.tracking.artifact_hosts import PROXIED, SCHEMES, check_artifact_host

SQLITE = "sqlite:///"
# Of a new experiment.
PLACE = f"{PROXIED}:/"


@dataclass
class _Checked:
    """A kind of MLflow's stores for files, asked only after its host was checked."""

    before: Callable[..., Any]

    def __call__(self, address: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
        check_artifact_host(address, tracking_uri or get_tracking_uri())
        return self.before(address, tracking_uri=tracking_uri, registry_uri=registry_uri)


def check_hosts() -> None:
    """Have this process ask no foreign host for files of runs; see `check_artifact_host`."""
    known = get_registered_artifact_repositories()
    for scheme in SCHEMES:
        if not isinstance(known[scheme], _Checked | _Kept):
            known[scheme] = _Checked(known[scheme])


@dataclass
class _Kept:
    """What MLflow asks for files under that address: a folder, or as before where none is known."""

    before: Callable[..., Any]
    folders: dict[str, Path] = field(default_factory=dict)

    def __call__(self, address: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
        folder = self.folders.get(tracking_uri or "")
        if folder is None:
            return self.before(address, tracking_uri=tracking_uri, registry_uri=registry_uri)
        return LocalArtifactRepository((folder / unquote(urlsplit(address).path).lstrip("/")).as_uri())


def keep_in(folder: Path, store: str) -> None:
    """Have this process find files of runs in a folder, where it asks that store without a server.

    A store that is another project's file has its files beside it there.
    """
    file = Path(store.removeprefix(SQLITE)).resolve() if store.startswith(SQLITE) else None
    if file is not None and (beside := file.parent / folder.parent.name / folder.name).is_dir():
        folder = beside
    check_hosts()
    known = get_registered_artifact_repositories()
    if not isinstance(known[PROXIED], _Kept):
        known[PROXIED] = _Kept(known[PROXIED])
    known[PROXIED].folders[store] = folder.resolve()
