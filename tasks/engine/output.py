"""Outputs of stages: the folder, its manifest, and whether the files are as the manifest says."""

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
SEAL = "manifest_digest"
WAITS = "another run is making this stage; waiting for it"
# Beside an output while it is made: what was begun, and its inputs as far as they are read.
PART, VIEW, LOCK = ".part", ".view", ".lock"


@dataclass(frozen=True)
class StageOutput:
    """A stage's output: where it is and what it is. This is what stages pass to each other."""

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
    """A file of an output is not what the manifest says; the text names the file and what is wrong."""


def make_reference(folder: Path, manifest: dict[str, Any], reused: bool) -> StageOutput:
    """Return the reference of an output that has this manifest."""
    return StageOutput(
        manifest["stage"], manifest["key"], str(folder), manifest["digest"], reused, manifest["seconds"],
        manifest["metrics"], manifest.get("run", ""), manifest.get("cost", {}),
    )  # fmt: skip


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest with its own digest, synced to disk."""
    sealed = {**manifest, SEAL: manifest_digest(manifest)}
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(json.dumps(sealed, indent=1))
        file.flush()
        os.fsync(file.fileno())


def manifest_digest(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its own digest."""
    rest = {name: value for name, value in manifest.items() if name != SEAL}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an output whose files are all there in the right size; None if they are not.

    The bytes of the files are not read: `verify_output` does that.
    """
    try:
        return _read_manifest_file(folder)
    except DamagedOutput:
        return None


def verify_output(folder: Path, root: Path) -> dict[str, Any] | None:
    """Compare an output with its manifest, each file with its checksum; return the manifest.

    A file that did not change since it was last read is not read again. None: there is no output.

    Raises:
        DamagedOutput: a file was changed, cut, removed, added or replaced, or the manifest was.
    """
    if not os.path.lexists(folder):
        return None
    manifest = _read_manifest_file(folder)
    if manifest is None:
        raise DamagedOutput(f"{folder / MANIFEST} is missing")
    sums = manifest["sums"]
    paths = [folder / name for name in sums]
    for path, found in zip(paths, file_sums(paths, root, cache=OUTPUT_DIGESTS), strict=True):
        if found != sums[path.relative_to(folder).as_posix()]:
            raise DamagedOutput(f"{path} has another checksum than when it was made")
    return manifest


def check_output(reference: StageOutput, root: Path) -> None:
    """Raise DamagedOutput if the bytes of an output are not, or not any more, those of the reference."""
    manifest = verify_output(Path(reference.path), root)
    if manifest is None:
        raise DamagedOutput(f"{reference.path} is missing")
    if manifest["digest"] != reference.digest:
        raise DamagedOutput(f"{reference.path} was replaced by another output")


def is_undamaged(folder: Path, root: Path) -> bool:
    """Return whether the folder holds an output with the bytes that it was made with."""
    try:
        return verify_output(folder, root) is not None
    except DamagedOutput:
        return False


def usable_output(stage: str, folder: Path, root: Path, report: EventCallback) -> dict[str, Any] | None:
    """Return the manifest of an undamaged output; None if there is none. Damage is reported."""
    try:
        return verify_output(folder, root)
    except DamagedOutput as error:
        report(Message(f"{stage}: {error}; the output is not used and made again"))
        return None


def _read_manifest_file(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DamagedOutput(f"{path} is not a regular file")
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise DamagedOutput(f"{path} is not whole JSON") from error
    if not isinstance(found, dict) or found.get(SEAL) != manifest_digest(found):
        raise DamagedOutput(f"{path} is not what was written")
    _compare_sizes(folder, found)
    return found


def _compare_sizes(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise DamagedOutput unless the folder has the manifest's files in their sizes and no others."""
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
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DamagedOutput(f"{path} is not a regular file")


def file_sizes(folder: Path, without: tuple[str, ...] = ()) -> dict[str, int]:
    """Bytes of each file but the manifest and what stands `without` at the top, by path."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] not in (MANIFEST, *without):
            found[name.as_posix()] = path.stat().st_size
    return found


def publish_output(part: Path, folder: Path) -> None:
    """Make what was begun the output."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)
