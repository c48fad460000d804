"""A quick look at the files of registered versions, for commands that show versions and use no model.

Names and sizes are compared with the manifest of the version's run, and checksums where that takes little
time. `registered_model.download_model` compares all of them before a model is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from model.errors import UserError, error_reason, one_line_path
from tasks.common.checksums import file_sums, unread_bytes
from tasks.drift_detection.profile import MODEL
from tasks.engine.output import MANIFEST
from tasks.project.paths import MLFLOW_FOLDER, OUTPUT_DIGESTS
from tasks.tracking.artifact_hosts import PROXIED
from tasks.tracking.queries import read_artifact, run_or_none
from tasks.tracking.registered_model import DIGEST, RESTORE, describe_damage, differing_file

# Bytes without a cached checksum that one command reads: a few seconds. The rest is compared by size.
MOST_BYTES = 4 << 30
# The size of what is no regular file; no file has it.
_NO_FILE = -1


@dataclass(frozen=True)
class FileState:
    """What a quick look found: a sentence about damage, or the reason why nothing is known; or neither."""

    damage: str = ""
    unknown: str = ""

    @property
    def sentence(self) -> str:
        """Return the finding for a reader, with advice if the files are damaged; empty if there is none."""
        return f"{self.damage}; {RESTORE}" if self.damage else self.unknown


class VersionFiles:
    """The files of the registered versions of a store. One object reads at most `MOST_BYTES`."""

    def __init__(self, client: MlflowClient, root: Path) -> None:
        """Prepare the look.

        Args:
            client: A client of MLflow's store.
            root: The project's folder.
        """
        self.client, self.root = client, root
        self.left = MOST_BYTES

    def look_at(self, version: Any) -> FileState:
        """Compare the files of a version with the manifest of its run."""
        named, no_look = f"version {version.version} of {version.name}", "its files were not checked"
        try:
            damage = self._find_damage(version)
        except OSError as error:
            path = one_line_path(self._display(Path(error.filename))) if error.filename else "its files"
            return FileState(unknown=f"{named}: {no_look}: {path}: {error_reason(error)}")
        except (MlflowException, UserError) as error:
            return FileState(unknown=f"{named}: {no_look}: {str(error).splitlines()[0]}")
        return FileState(f"{named}: {damage}" if damage else "")

    def _find_damage(self, version: Any) -> str:
        run = run_or_none(self.client, str(version.run_id))
        if run is None:
            return ""
        folder = self._local_folder(str(version.source))
        if folder is None and version.source != f"{run.info.artifact_uri}/{MODEL}":
            return ""
        sizes = dict(_local_sizes(folder) if folder else self._remote_sizes(str(version.run_id), MODEL))
        manifest = read_artifact(self.client, run, MANIFEST)
        recorded = manifest if isinstance(manifest, dict) else {}
        # A file of the recorded size counts as whole, until it is read.
        wanted, known = recorded.get("files") or {}, recorded.get("sums") or {}
        sums = {
            name: str(known.get(name, "")) if size != _NO_FILE and wanted.get(name, size) == size else ""
            for name, size in sizes.items()
        }
        if folder and known:
            sums.update(self._read_sums(folder, [name for name, found in sums.items() if found]))
        damaged = differing_file(manifest, run.data.tags.get(DIGEST, ""), sums) if sizes else MODEL
        if not damaged:
            return ""
        if folder:
            path = folder.parent / damaged
            return f"{one_line_path(self._display(path))} {describe_damage(path)}"
        there = damaged in sizes or (damaged == MANIFEST and manifest is not None)
        what = "differs from the registered file" if there else "is missing"
        return f"{one_line_path(damaged)} {what} at MLflow's server"

    def _local_folder(self, source: str) -> Path | None:
        """Return the folder of a version's model; None if it is on another machine."""
        uri = str(self.client.tracking_uri)
        if urlsplit(source).scheme == PROXIED and uri.startswith("http"):
            # The address has the id of the run, so a folder of this project that has it is that run's. The
            # server that `chatmill up` runs serves the same folder.
            folder = self.root / MLFLOW_FOLDER / "artifacts" / unquote(urlsplit(source).path).strip("/")
            return folder if folder.is_dir() else None
        repository = get_artifact_repository(source, tracking_uri=uri)
        return Path(repository.artifact_dir) if isinstance(repository, LocalArtifactRepository) else None

    def _remote_sizes(self, run: str, path: str) -> Iterator[tuple[str, int]]:
        for each in self.client.list_artifacts(run, path):
            if each.is_dir:
                yield from self._remote_sizes(run, each.path)
            else:
                yield each.path, int(each.file_size or 0)

    def _read_sums(self, folder: Path, names: list[str]) -> dict[str, str]:
        """Return the checksums of files by name, or none of them if there is too much to read."""
        paths = [folder.parent / name for name in names]
        unread = unread_bytes(paths, self.root, OUTPUT_DIGESTS)
        if unread > self.left:
            return {}
        self.left -= unread
        return dict(zip(names, file_sums(paths, self.root, cache=OUTPUT_DIGESTS), strict=True))

    def _display(self, path: Path) -> Path:
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path


def _local_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the size of each file in a model's folder by its path from the parent folder.

    Raises:
        PermissionError: A folder may not be listed. Its files are not missing then.
    """
    for place, folders, files in os.walk(folder, onerror=_raise_unless_missing):
        # A link to a folder counts as a file, since its target may be anywhere.
        linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in sorted([*files, *linked]):
            path = Path(place, name)
            yield (
                f"{MODEL}/{path.relative_to(folder).as_posix()}",
                (path.stat().st_size if path.is_file() else _NO_FILE),
            )


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
