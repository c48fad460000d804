"""Outputs of stages: the folder, its manifest, and the comparison of the files with the manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.common.checksums import file_sums
from tasks.project.paths import OUTPUT_DIGESTS

MANIFEST = "manifest.json"
# The manifest's own digest, in the manifest.
MANIFEST_DIGEST = "manifest_digest"
WAITS = "another run is computing this stage; waiting for it"
# Suffixes of paths beside an output while it is made: the unfinished output, a view of its inputs, the lock.
PART, VIEW, LOCK = ".part", ".view", ".lock"
# Appended to the name of what is about to be removed; the next start removes what a kill left of it.
GONE = ".gone"


@dataclass(frozen=True)
class StageOutput:
    """A reference to a stage's output, which stages pass to each other: its location, digest and metrics."""

    stage: str
    key: str
    path: str
    digest: str
    reused: bool
    seconds: float
    metrics: dict[str, Any]
    run: str = ""
    cost: dict[str, Any] = field(default_factory=dict)


class DamagedOutput(UserError):
    """A file of an output differs from the manifest; the message names the file and the difference."""


def make_reference(folder: Path, manifest: dict[str, Any], reused: bool) -> StageOutput:
    """Return the reference to an output with this manifest."""
    return StageOutput(
        manifest["stage"], manifest["key"], str(folder), manifest["digest"], reused, manifest["seconds"],
        manifest["metrics"], manifest.get("run", ""), manifest.get("cost", {}),
    )  # fmt: skip


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest with its own digest, and sync it to disk."""
    sealed = {**manifest, MANIFEST_DIGEST: manifest_digest(manifest)}
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(json.dumps(sealed, indent=1))
        file.flush()
        # Without it, a power failure after the rename in `publish_output` could leave an empty manifest.
        os.fsync(file.fileno())


def manifest_digest(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its own digest."""
    rest = {name: value for name, value in manifest.items() if name != MANIFEST_DIGEST}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an output if all its files have the recorded sizes; else None.

    The content of the files is not read; `verify_output` does that.
    """
    try:
        return _read_manifest_file(folder)
    except DamagedOutput:
        return None


def verify_output(folder: Path, root: Path) -> dict[str, Any] | None:
    """Compare each file of an output with its checksum in the manifest; return the manifest.

    The checksum of a file that did not change since it was last read is cached.

    Args:
        folder: The output's folder.
        root: The project's folder, which holds the cached checksums.

    Returns:
        The manifest; None if there is no output.

    Raises:
        DamagedOutput: A file or the manifest was changed, truncated, removed, added or replaced.
    """
    # A dangling link counts as a damaged output, not as a missing one.
    if not os.path.lexists(folder):
        return None
    manifest = _read_manifest_file(folder)
    if manifest is None:
        raise DamagedOutput(f"{folder / MANIFEST} is missing")
    sums = manifest["sums"]
    paths = [folder / name for name in sums]
    for path, found in zip(paths, file_sums(paths, root, cache=OUTPUT_DIGESTS), strict=True):
        if found != sums[path.relative_to(folder).as_posix()]:
            raise DamagedOutput(f"{path} does not match its checksum")
    return manifest


def check_output(reference: StageOutput, root: Path) -> None:
    """Raise DamagedOutput unless an output still has the content that its reference names."""
    manifest = verify_output(Path(reference.path), root)
    if manifest is None:
        raise DamagedOutput(f"{reference.path} is missing")
    if manifest["digest"] != reference.digest:
        raise DamagedOutput(f"{reference.path} was replaced by another output")


def is_undamaged(folder: Path, root: Path) -> bool:
    """Return whether the folder holds an output with its original content."""
    try:
        return verify_output(folder, root) is not None
    except DamagedOutput:
        return False


def usable_output(stage: str, folder: Path, root: Path, on_event: EventCallback) -> dict[str, Any] | None:
    """Return the manifest of an undamaged output; None if there is none. Report damage."""
    try:
        return verify_output(folder, root)
    except DamagedOutput as error:
        on_event(Message(f"{stage}: {error}; the output is recomputed"))
        return None


def _read_manifest_file(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    try:
        # Reading a named pipe would never end, and a link may lead to another output's manifest.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DamagedOutput(f"{path} is not a regular file")
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise DamagedOutput(f"{path} is not whole JSON") from error
    if not isinstance(found, dict) or found.get(MANIFEST_DIGEST) != manifest_digest(found):
        raise DamagedOutput(f"{path} does not match its checksum")
    _compare_sizes(folder, found)
    return found


def _compare_sizes(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise DamagedOutput unless the folder has exactly the manifest's files, in their sizes."""
    wanted, here = manifest["files"], file_sizes(folder)
    for name in sorted({*wanted, *here}):
        if wanted.get(name) != here.get(name):
            what = (
                "is missing"
                if name not in here
                else "does not belong to the output"
                if name not in wanted
                else f"has {here[name]:,} bytes in place of {wanted[name]:,}"
            )
            raise DamagedOutput(f"{folder / name} {what}")
    # `file_sizes` follows links, and does not see pipes and sockets.
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DamagedOutput(f"{path} is not a regular file")


def file_sizes(folder: Path, without: tuple[str, ...] = ()) -> dict[str, int]:
    """Return the size of each file in bytes by path, without the manifest.

    Args:
        folder: The folder.
        without: Names at its top that are left out.
    """
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] not in (MANIFEST, *without):
            found[name.as_posix()] = path.stat().st_size
    return found


def publish_output(part: Path, folder: Path) -> None:
    """Rename an unfinished output to its final place, and replace what is there."""
    # `rmtree` refuses a link, and a rename onto a file fails.
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    elif folder.exists():
        # Renamed before it is removed: another run that reads the output finds either one at its place.
        former = folder.with_suffix(GONE)
        shutil.rmtree(former, ignore_errors=True)
        folder.rename(former)
        part.rename(folder)
        shutil.rmtree(former, ignore_errors=True)
        return
    part.rename(folder)
