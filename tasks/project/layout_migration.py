"""Move recomputable files from `var/`, where earlier versions kept them, to `var/cache/`."""

from __future__ import annotations

import errno
import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from model.errors import UserError
from tasks.project.dry_run import may_write
from tasks.project.owned_folder import ABOUT, MARKER
from tasks.project.paths import (
    ARTIFACTS,
    CACHE,
    DASK,
    DATA_DOCS,
    DIGESTS,
    DOWNLOADS,
    ENVIRONMENTS,
    LAYOUT_LOCK,
    MLFLOW_FOLDER,
    RECORDS,
    REPRODUCTIONS,
)

MOVED = (ARTIFACTS, DOWNLOADS, ENVIRONMENTS, REPRODUCTIONS, DATA_DOCS, DASK, DIGESTS)
# Holds the entries that were not moved because the cache has an entry of the same name.
DUPLICATES = CACHE / "duplicates"
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
OTHER_DISK = (errno.EXDEV, errno.EBUSY)
# var/artifacts/STAGE/KEY is the deepest entry that two versions of chatmill could both have made.
DEPTH = 2


def move_to_cache(root: Path) -> list[str]:
    """Move each folder of the former layout by a rename.

    Nothing moves if the project cannot be written.

    Returns:
        The names of the folders that were moved.

    Raises:
        UserError: A run of the former version is still alive, or this is a dry run.
    """
    if not (former := [there for there, _ in _former_paths(root)]):
        return []
    if not may_write():
        raise UserError(
            f"{RECORDS}/{former[0].name} is where an earlier version of chatmill kept it, and a dry run "
            "moves nothing; run `chatmill models`, which moves it, then repeat the dry run"
        )
    try:
        with (root / LAYOUT_LOCK).open("a") as lock:
            # Two commands that start at once would move the same folder; the second finds nothing to do.
            fcntl.flock(lock, fcntl.LOCK_EX)
            _check_idle(root)
            (root / CACHE).mkdir(exist_ok=True)
            moved = []
            for there, here in _former_paths(root):
                _move_path(there, here, root)
                moved.append(there.name)
    except OSError as error:
        if error.errno in _CLOSED:
            return []
        raise
    if REPRODUCTIONS.name in moved:
        _repair_worktrees(root)
    return moved


def moved_notice(names: list[str]) -> str:
    """Return the sentence that tells a person what `move_to_cache` moved."""
    return f"moved {', '.join(names)} from {RECORDS}/ to {CACHE}/, whose files can be recomputed"


def _former_paths(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the former and the present path of each folder that lies where earlier versions kept it."""
    for path in MOVED:
        there, here = root / RECORDS / path.name, root / path
        if not there.is_symlink() and not there.exists():
            continue
        # If one path is a link to the other, both are the same folder and nothing is to be moved.
        if there.resolve() != here.resolve():
            yield there, here


def _check_idle(root: Path) -> None:
    alive = (root / MLFLOW_FOLDER / "alive").glob("*")
    for path in [*alive, *(root / RECORDS / ARTIFACTS.name).glob("*/*.lock")]:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"a run that an earlier version of chatmill started still writes to {RECORDS}; "
                    f"wait until it ends or stop it, then run this again"
                ) from None


def _move_path(there: Path, here: Path, root: Path) -> None:
    if there.is_symlink():
        target = there.resolve()
        if not here.exists():
            here.symlink_to(target)
        there.unlink()
    elif here.exists():
        _merge_folders(there, here, root, DEPTH if there.name == ARTIFACTS.name else 1)
    else:
        try:
            there.rename(here)
        except OSError as error:
            if error.errno not in OTHER_DISK:
                raise
            # A mount point cannot be renamed. Its files stay on their disk and are found through a link.
            here.symlink_to(there.resolve())
            with suppress(OSError):
                (here / MARKER).write_text(ABOUT, encoding="utf-8")


def _merge_folders(there: Path, here: Path, root: Path, depth: int) -> None:
    """Move the entries that the cache lacks, and the others to the folder of duplicates."""
    if depth == 0 or not (there.is_dir() and here.is_dir()):
        _move_duplicate(there, root)
        return
    for path in sorted(there.iterdir()):
        if (here / path.name).exists():
            _merge_folders(path, here / path.name, root, depth - 1)
        else:
            path.rename(here / path.name)
    # Unlike rmtree, rmdir fails if an entry was left, so nothing is lost.
    there.rmdir()


def _move_duplicate(path: Path, root: Path) -> None:
    place = root / DUPLICATES / path.relative_to(root / RECORDS)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    path.replace(place)


def _repair_worktrees(root: Path) -> None:
    """Tell Git the new paths of the worktrees of kept reproductions."""
    trees = [str(path) for path in sorted((root / REPRODUCTIONS).glob("*/tree")) if path.is_dir()]
    if trees:
        # Without Git there is no worktree to repair.
        with suppress(FileNotFoundError):
            words = ["git", "-C", str(root), "worktree", "repair", *trees]
            subprocess.run(words, capture_output=True, check=False)
