"""The location of the files of MLflow runs: one address, with and without a server.

An experiment records the location of its files once, when it is created. `mlflow-artifacts:` means whatever
MLflow's server provides, so it is right on every host. A program that uses the store without a server finds
the folder that the server would use.
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
# The location of the files of a new experiment.
PLACE = f"{PROXIED}:/"


@dataclass
class _Checked:
    """A constructor of MLflow's artifact repositories that checks the host first."""

    before: Callable[..., Any]

    def __call__(self, address: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
        check_artifact_host(address, tracking_uri or get_tracking_uri())
        return self.before(address, tracking_uri=tracking_uri, registry_uri=registry_uri)


def check_hosts() -> None:
    """Make MLflow's client in this process check the host of each address; see `check_artifact_host`."""
    known = get_registered_artifact_repositories()
    for scheme in SCHEMES:
        # The registry lasts as long as the process; a second call must not wrap a wrapper.
        if not isinstance(known[scheme], _Checked | _Kept):
            known[scheme] = _Checked(known[scheme])


@dataclass
class _Kept:
    """A constructor of artifact repositories for `mlflow-artifacts:` that prefers a local folder."""

    before: Callable[..., Any]
    folders: dict[str, Path] = field(default_factory=dict)

    def __call__(self, address: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> Any:
        folder = self.folders.get(tracking_uri or "")
        if folder is None:
            return self.before(address, tracking_uri=tracking_uri, registry_uri=registry_uri)
        return LocalArtifactRepository((folder / unquote(urlsplit(address).path).lstrip("/")).as_uri())


def keep_in(folder: Path, store: str) -> None:
    """Make MLflow's client in this process use a local folder for files of runs, without a server.

    Args:
        folder: The project's folder for files of runs.
        store: The address of the store. If it is another project's SQLite file, the folder beside that file
            is used.
    """
    file = Path(store.removeprefix(SQLITE)).resolve() if store.startswith(SQLITE) else None
    # Another project's store has the files of its runs beside itself, not here.
    if file is not None and (beside := file.parent / folder.parent.name / folder.name).is_dir():
        folder = beside
    check_hosts()
    known = get_registered_artifact_repositories()
    if not isinstance(known[PROXIED], _Kept):
        known[PROXIED] = _Kept(known[PROXIED])
    known[PROXIED].folders[store] = folder.resolve()
