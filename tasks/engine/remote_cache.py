"""Outputs of stages shared between hosts, at the remote that keeps the versions of the data.

Files lie among DVC's own objects, named by their hash, so that content which data and outputs share is stored
once. The listing `chatmill/STAGE/KEY.json` holds an output's manifest and files. It is written last, so that
an output with a listing is complete. What is fetched is compared with the SHA-256 in the listing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.dvc import remote as remotes
from tasks.dvc import versions
from tasks.engine.cache_key import folder_sums, output_digest
from tasks.engine.output import (
    MANIFEST,
    MANIFEST_DIGEST,
    DamagedOutput,
    StageOutput,
    manifest_digest,
    publish_output,
    verify_output,
    write_manifest,
)

FOLDER = "chatmill"
_POOLS = "pools"
T = TypeVar("T")


class DamagedListing(UserError):
    """The file in the place of a listing is not a listing, or is another output's."""


@dataclass
class Store:
    """The outputs at a remote.

    Unless the store is `needed`, a remote that is unreachable is asked only once in a run.
    """

    root: Path
    remote: str
    endpoint: str = ""
    needed: bool = False
    away: bool = False

    def send_output(self, output: StageOutput, on_event: EventCallback) -> None:
        """Send a complete output; one that was reused and has a listing is not sent again.

        Raises:
            UserError: The output is damaged or missing, or the store is needed and cannot be written.
        """
        folder = Path(output.path)
        try:
            manifest = verify_output(folder, self.root)
        except DamagedOutput as error:
            raise UserError(f"{error}, so it is not shared; run again to recompute {output.stage}") from error
        if manifest is None:
            raise UserError(f"{folder} is missing; run again to recompute {output.stage}")

        def action(remote: RemoteStore) -> None:
            path = remote.listing_path(output.stage, output.key)
            if not output.reused or not remote.filesystem.exists(path):
                sums = manifest["sums"]
                objects = {name: _file_md5(folder / name) for name in sums}
                # The listing follows its files: another host may fetch the output as soon as it sees the
                # listing.
                remote.add_files([folder / name for name in objects], list(objects.values()))
                remote.write_json(path, {"manifest": manifest, "objects": objects, "sums": sums})

        self._try_remote(action, on_event)

    def fetch_output(
        self, stage: str, key: str, folder: Path, on_event: EventCallback
    ) -> dict[str, Any] | None:
        """Fetch an output to `folder`, completely or not at all.

        The files are collected beside the folder first. A damaged file or listing is reported and removed
        from the store, and the output is not used. A host that has the output sends it again.

        Returns:
            The manifest; None if the store does not have the output.

        Raises:
            UserError: The store is needed and cannot be read.
        """

        def action(remote: RemoteStore) -> dict[str, Any] | None:
            path = remote.listing_path(stage, key)
            try:
                found = remote.read_json(path)
                if found is None:
                    return None
                manifest, objects, sums = _check_listing(found, stage, key, path)
            except DamagedListing as error:
                remote.remove_listing(path, [])
                on_event(Message(f"{error}; it is removed, and the output is not used"))
                return None
            part = folder.with_suffix(".fetch")
            shutil.rmtree(part, ignore_errors=True)
            try:
                if not remote.get_files(objects, part):
                    return None
                if spoilt := _differing_files(part, sums):
                    remote.remove_listing(path, [objects[name] for name in spoilt])
                    text = f"{stage}: {spoilt[0]} at {self.remote} is damaged; the output there is not used"
                    on_event(Message(text))
                    return None
                _publish_fetched(part, folder, manifest)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            size = sum(manifest["files"].values())
            on_event(Message(f"fetched from {self.remote} ({size / 1e6:,.1f} MB)"))
            return manifest

        return self._try_remote(action, on_event)

    def record_device(self, pool: str, device: str, on_event: EventCallback) -> None:
        """Record the kind of device of a pool's worker; it enters the cache keys of outputs made there."""

        def action(remote: RemoteStore) -> None:
            path = remote.listing_path(_POOLS, pool)
            known = _listed_devices(remote, pool)
            if device not in known:
                remote.write_json(path, {"devices": sorted([*known, device])})

        self._try_remote(action, on_event)

    def devices(self, pool: str, on_event: EventCallback) -> list[str]:
        """Return the kinds of device that a pool's workers have recorded."""
        return self._try_remote(lambda remote: _listed_devices(remote, pool), on_event) or []

    def _try_remote(self, action: Callable[[RemoteStore], T], on_event: EventCallback) -> T | None:
        if self.away:
            return None

        def opened() -> T:
            with versions.open_repository(self.root) as repo:
                remotes.set_remote(repo, self.root, self.remote, self.endpoint)
                return action(RemoteStore(remotes.open_remote(repo), repo.cloud.get_remote().path))

        try:
            try:
                return remotes.retry_action(opened, self.remote)
            except OSError as error:
                raise UserError(f"{self.remote} cannot be read or written ({error})") from error
        except UserError as error:
            if self.needed:
                raise
            # Each attempt waits for timeouts and retries; a run of many stages would wait for each of them.
            self.away = True
            on_event(Message(f"outputs are not shared in this run: {error}"))
            return None


@dataclass(frozen=True)
class RemoteStore:
    """An open remote: DVC's object store, and its path at the remote."""

    objects: Any
    path: str

    @property
    def filesystem(self) -> Any:
        """The file system of the remote."""
        return self.objects.fs

    def listing_path(self, stage: str, key: str) -> str:
        """Return the path of an output's listing."""
        return str(self.filesystem.join(self.path, FOLDER, stage, f"{key}.json"))

    def read_json(self, path: str) -> dict[str, Any] | None:
        """Return a JSON object, or None if the file is missing.

        Raises:
            DamagedListing: The file holds anything else.
        """
        try:
            with self.filesystem.open(path, "rb") as file:
                found = json.loads(file.read())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise DamagedListing(f"{path} is not a chatmill listing")
        return found

    def write_json(self, path: str, value: dict[str, Any]) -> None:
        """Write a JSON object atomically."""
        with TemporaryDirectory(prefix="chatmill-") as scratch:
            file = Path(scratch) / "listing"
            file.write_text(json.dumps(value), encoding="utf-8")
            self.filesystem.put_file(str(file), path)

    def add_files(self, files: list[Path], hashes: list[str]) -> None:
        """Send the files whose content the remote lacks."""
        lacking = set(remotes.missing_hashes(self.objects, sorted(set(hashes))))
        chosen = {name: str(file) for name, file in zip(hashes, files, strict=True) if name in lacking}
        if chosen:
            self.objects.add(list(chosen.values()), _local_filesystem(), list(chosen))

    def get_files(self, objects: dict[str, str], folder: Path) -> bool:
        """Fetch files to a folder.

        Args:
            objects: DVC's hashes of the files, by path in the folder.
            folder: The target folder.

        Returns:
            Whether the remote has all of them; if not, nothing is fetched.
        """
        from dvc_objects.fs.generic import transfer

        if remotes.missing_hashes(self.objects, sorted(set(objects.values()))):
            return False
        targets = [folder / name for name in objects]
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        sources = [self.objects.oid_to_path(name) for name in objects.values()]
        if sources:
            transfer(self.filesystem, sources, _local_filesystem(), [str(target) for target in targets])
        return True

    def remove_listing(self, path: str, hashes: list[str]) -> None:
        """Remove a listing, and the objects whose content does not match their hash."""
        # The listing first: while it is there, other hosts fetch the objects.
        self.filesystem.remove(path)
        for name in sorted(set(hashes)):
            self.objects.delete(name)


def _listed_devices(remote: RemoteStore, pool: str) -> list[str]:
    """Return the devices in a pool's listing; none if it is damaged, as the next worker writes it again."""
    try:
        found = (remote.read_json(remote.listing_path(_POOLS, pool)) or {}).get("devices", [])
    except DamagedListing:
        found = []
    return [str(device) for device in found] if isinstance(found, list) else []


def _check_listing(
    found: dict[str, Any], stage: str, key: str, path: str
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Return the manifest, DVC hashes and SHA-256 sums of a listing.

    Raises:
        DamagedListing: It is another output's listing, is incomplete, or names a path outside the output.
    """
    try:
        manifest, objects, sums = found["manifest"], found["objects"], found["sums"]
        same = (manifest["stage"], manifest["key"]) == (stage, key) and manifest["sums"] == sums
        digest = output_digest(sums, manifest.get("apart", ()))
        same = (
            same and manifest["digest"] == digest and manifest[MANIFEST_DIGEST] == manifest_digest(manifest)
        )
        # Whoever can write to the remote could otherwise make this host write anywhere.
        inside = all(_is_inside(name) for name in objects)
        whole = set(objects) == set(sums) == set(manifest["files"])
    except (KeyError, TypeError, AttributeError):
        same = inside = whole = False
    if not (same and inside and whole):
        raise DamagedListing(f"{path} does not list {stage} {key}")
    return manifest, objects, sums


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and name != MANIFEST


def _differing_files(folder: Path, sums: dict[str, str]) -> list[str]:
    found = folder_sums(folder)
    return [name for name in sums if found.get(name) != sums[name]]


def _publish_fetched(part: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Publish a fetched output; remove what a run on this host had begun of it."""
    write_manifest(part, manifest)
    publish_output(part, folder)
    shutil.rmtree(folder.with_suffix(".part"), ignore_errors=True)


def _file_md5(path: Path) -> str:
    from dvc_data.hashfile.hash import file_md5

    return str(file_md5(str(path)))


def _local_filesystem() -> Any:
    from dvc.fs import LocalFileSystem

    return LocalFileSystem()
