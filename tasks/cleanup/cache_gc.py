"""Cleanup of `var/cache/`: downloads, environments, snapshots and worktrees that nothing needs."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.cleanup.output_gc import is_lock_held, show_age
from tasks.cleanup.removal import REFUSED, Removal
from tasks.common.git_checkout import remove_worktree
from tasks.data.sources.download import parse_address
from tasks.engine.output import GONE
from tasks.project.owned_folder import leads_elsewhere, marker_advice
from tasks.project.paths import DOWNLOADS, ENVIRONMENTS, REPRODUCTIONS, SOURCE_SNAPSHOTS
from tasks.reproduction.checkout import TREE

# Folders of downloads whose entries are data sets: a preset names them by more than a path.
DATA_SETS = ("datasets", "huggingface")
_KINDS = {
    DOWNLOADS: "download",
    ENVIRONMENTS: "environment of another lock file",
    REPRODUCTIONS: "worktree of a reproduction",
    SOURCE_SNAPSHOTS: "snapshot of the sources",
}
# Names that chatmill gives its entries; others are left alone. Archives have the names of the package index.
DIGEST_NAME = re.compile(r"[0-9a-f]{8,64}(\.[a-z]+)*")
ARCHIVE_NAME = re.compile(r".+\.(whl|zip|tgz|tar\.(gz|bz2|xz))(\.part)?")


@dataclass(frozen=True)
class Cached:
    """One file or folder of the cache: its kind, its size in bytes, and the time of its last use."""

    path: Path
    kind: str
    size: int
    used: float


def plan_cache(
    root: Path, age: float, now: float, presets: Sequence[Mapping[str, Any]], busy: bool
) -> tuple[list[Cached], list[tuple[Cached, str]]]:
    """Return the entries to remove, and those to keep, each with the reason. Nothing is changed.

    Args:
        root: The project's folder.
        age: Entries that were used less than this many seconds ago stay.
        now: The time in seconds since 1970.
        presets: The presets of the newest run and of registered versions; their downloads stay.
        busy: Whether a run is alive; everything stays then.
    """
    named = {name for preset in presets for name in _used_downloads(preset)}
    elsewhere = [folder for folder in _KINDS if leads_elsewhere(root, folder)]
    reproduces = any(is_lock_held(path) for path in (root / REPRODUCTIONS).glob("*.lock"))
    removed: list[Cached] = []
    kept: list[tuple[Cached, str]] = []
    for cached in _list_entries(root):
        place = cached.path.relative_to(root)
        if busy:
            kept.append((cached, "a running run may use it"))
        elif linked := [folder for folder in elsewhere if folder in place.parents]:
            kept.append((cached, marker_advice(linked[0])))
        elif is_lock_held(cached.path.with_suffix(".lock")):
            kept.append((cached, "a process holds its file lock"))
        elif cached.path.name.endswith(GONE):
            # A killed gc had begun to remove it.
            removed.append(cached)
        elif reproduces and place.parent == ENVIRONMENTS:
            kept.append((cached, "a reproduction may use it"))
        elif place.is_relative_to(DOWNLOADS) and place.relative_to(DOWNLOADS).parts[0] in named:
            kept.append((cached, "the newest run or a registered version reads it"))
        elif now - cached.used <= age:
            kept.append((cached, f"used less than {show_age(age)} ago"))
        else:
            removed.append(cached)
    return removed, kept


def remove_cached(root: Path, cached: Cached, removal: Removal) -> str:
    """Remove an entry under its lock, unless a process took the lock meanwhile.

    Returns:
        The reason why the entry is still there; empty if it is gone.
    """
    path = cached.path
    lock = path.with_suffix(".lock")
    if path.is_relative_to(root / DOWNLOADS):
        # Downloads have their locks inside. Only runs take them, and no run is alive.
        return "" if removal.delete_folder(path) else REFUSED
    try:
        return _remove_locked(root, path, lock, removal)
    except OSError as error:
        # The lock file belongs to another user.
        removal.refuse(lock, error)
        return REFUSED


def _remove_locked(root: Path, path: Path, lock: Path, removal: Removal) -> str:
    with ExitStack() as stack:
        if path.parent == root / SOURCE_SNAPSHOTS:
            # A run that starts looks for its snapshot under this lock.
            fcntl.flock(stack.enter_context((path.parent / "lock").open("a")), fcntl.LOCK_EX)
        file = stack.enter_context(lock.open("a"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "now in use by a process"
        if path.parent == root / REPRODUCTIONS:
            remove_worktree(root, path / TREE)
        if not removal.delete_folder(path):
            return REFUSED
        # Inside the context: after it, another process could already hold the lock file. It stays where a
        # killed gc had renamed the entry and a process has made it again since.
        if not path.with_suffix("").exists():
            lock.unlink(missing_ok=True)
    return ""


def _list_entries(root: Path) -> Iterator[Cached]:
    for folder, kind in _KINDS.items():
        for path in _folder_entries(root / folder):
            files = [path, *path.rglob("*")] if path.is_dir() else [path]
            stats = [file.lstat() for file in files if file.is_file() and not file.is_symlink()]
            if folder in (ENVIRONMENTS, SOURCE_SNAPSHOTS):
                # Their files keep the times of packages and sources; each use sets the time of the folder.
                used = path.stat().st_mtime
            else:
                used = max((each.st_mtime for each in stats), default=path.stat().st_mtime)
            yield Cached(path, kind, sum(each.st_size for each in stats), used)


def _folder_entries(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*")):
        if path.suffix == ".lock" or path.is_symlink() or path.name == "lock":
            continue
        if path.name == DATA_SETS[0]:
            yield from (each for each in sorted(path.iterdir()) if not each.is_symlink() and _is_named(each))
        elif path.name in (DATA_SETS[1], DATA_SETS[1] + GONE) or _is_named(path):
            yield path


def _is_named(path: Path) -> bool:
    """Return whether an entry has a name that chatmill gives."""
    return path.suffix != ".lock" and bool(
        DIGEST_NAME.fullmatch(path.name) or ARCHIVE_NAME.fullmatch(path.name)
    )


def _used_downloads(preset: Any) -> Iterable[str]:
    """Yield the names, below the folder of downloads, of everything that a preset fetches."""
    if isinstance(preset, Mapping):
        if preset.get("dataset"):
            yield from DATA_SETS
        if isinstance(name := preset.get("file"), str):
            yield Path(name).parts[0] if Path(name).parts else name
        for value in preset.values():
            yield from _used_downloads(value)
    elif isinstance(preset, list):
        for value in preset:
            yield from _used_downloads(value)
    elif isinstance(preset, str) and "://" in preset:
        try:
            # Any text with "://" in a preset may be an address, as in `urls` or in an archive.
            yield parse_address(preset).cache_folder.name
        except ValueError:
            return
