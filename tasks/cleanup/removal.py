"""Removal of files and folders by `chatmill gc`, which goes on where the system refuses one of them."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import IO

from model.errors import UserError, error_reason
from tasks.cleanup.output_gc import HALF, CachedOutput, GCPlan, is_lock_held
from tasks.engine.output import GONE, MANIFEST

_SHOWN = 5
REFUSED = "it could not be removed"


class Removal:
    """The removal of many paths. It remembers those that the system refused to remove, with the reasons."""

    def __init__(self) -> None:
        self.refused: dict[Path, str] = {}

    def delete_path(self, path: Path) -> bool:
        """Delete a file or a folder; return whether it is gone. A link is removed, not what it leads to."""
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            self.refuse(path, error)
            return False
        return True

    def delete_folder(self, path: Path) -> bool:
        """Delete a file or a folder as `delete_path` does, but rename a folder first.

        A kill then leaves no part of it under its name, where a later run would use what is left.
        """
        if path.name.endswith(GONE) or path.is_symlink() or not path.is_dir():
            return self.delete_path(path)
        target = path.with_name(path.name + GONE)
        if not self.delete_path(target):
            return False
        try:
            path.rename(target)
        except OSError as error:
            self.refuse(path, error)
            return False
        return self.delete_path(target)

    def refuse(self, path: Path, error: OSError) -> None:
        """Remember a path that could not be removed."""
        inner = Path(str(error.filename)) if error.filename else path
        self.refused[path] = f"{inner if inner.is_absolute() else path} ({error_reason(error)})"

    def raise_refused(self, root: Path) -> None:
        """Raise UserError that names the refused paths, if there are any."""
        if not self.refused:
            return
        said = [text.removeprefix(f"{root}/") for text in self.refused.values()]
        more = f" and {len(said) - _SHOWN:,} more" if len(said) > _SHOWN else ""
        raise UserError(
            f"could not remove {', '.join(said[:_SHOWN])}{more}; the rest was done. Make these paths "
            "writable for your user, or run as their owner, then run `chatmill gc` again"
        )


def rename_outputs(
    planned: GCPlan, alive: bool, removal: Removal
) -> tuple[list[tuple[CachedOutput, Path]], dict[CachedOutput, str]]:
    """Rename all outputs that are to be removed, each under its lock.

    Args:
        planned: The plan of the collection.
        alive: Whether any run is alive; lock files are then kept.
        removal: Remembers what the system refuses.

    Returns:
        The renamed paths with their outputs, and the outputs that stay, each with the reason: a run took it
        since the plan was made, or the system refused.
    """
    put: list[tuple[CachedOutput, Path]] = []
    stay: dict[CachedOutput, str] = {}
    for entry, _ in planned.goes:
        lock = entry.paths[0].parent / f"{entry.key}.lock"
        try:
            with lock.open("a") as file:
                if not _lock_output(entry, file):
                    stay[entry] = "a run is now using it"
                    continue
                put += [(entry, _rename_output(path)) for path in entry.paths if path != lock]
                # A running run may wait for this lock file. If it were removed, two processes could each
                # hold a lock of this name.
                if lock in entry.paths and not alive:
                    lock.unlink(missing_ok=True)
            # A lock file is only removed together with the last thing that it protects.
            if lock not in entry.paths and not alive and not _last_used(lock):
                lock.unlink(missing_ok=True)
        except OSError as error:
            removal.refuse(entry.paths[0], error)
            stay[entry] = REFUSED
    return put, stay


def _lock_output(entry: CachedOutput, file: IO[str]) -> bool:
    """Take the lock of an output, and return whether no run uses the output."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # A training can outlive the flow that held the stage's lock; it holds a lock of its own.
    return entry.kind == HALF or not any(
        is_lock_held(path) for place in entry.paths for path in place.rglob("training.lock")
    )


def _last_used(lock: Path) -> bool:
    return lock.with_suffix("").exists() or lock.with_suffix(".part").exists()


def _rename_output(path: Path) -> Path:
    """Rename an output, after removing its manifest: a kill at any point leaves it visibly incomplete."""
    if path.name.endswith(GONE):
        return path
    target = path.with_name(path.name + GONE)
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if path.is_dir():
        (path / MANIFEST).unlink(missing_ok=True)
    return path.rename(target)
