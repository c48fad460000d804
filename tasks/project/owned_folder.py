"""Folders that chatmill empties, replaces or removes; each carries a marker file from chatmill."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from model.errors import UserError

MARKER = ".chatmill"
ABOUT = "chatmill created this folder, and empties or removes it.\n"


def claim_folder(folder: Path, signs: Sequence[str] = ()) -> None:
    """Create a folder, or reuse one that chatmill created, and mark it.

    Args:
        folder: The folder.
        signs: Names of entries that earlier versions, which wrote no marker, left in such a folder.

    Raises:
        UserError: The folder has other content, so it is somebody's own.
    """
    check_folder(folder, signs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(ABOUT, encoding="utf-8")


def check_folder(folder: Path, signs: Sequence[str] = ()) -> None:
    """Raise UserError for a folder that chatmill did not create, unless it is empty or missing."""
    if not folder.is_dir():
        if folder.exists() or folder.is_symlink():
            raise UserError(
                f"{folder} is not a folder, but chatmill needs one of that name; move it elsewhere"
            )
        return
    there = sorted(os.listdir(folder))
    if there and not {MARKER, *signs} & set(there):
        raise UserError(
            f"{folder} holds {there[0]} and was not created by chatmill, which would replace it; "
            "move it elsewhere and run again"
        )


def remove_folder(folder: Path, signs: Sequence[str] = ()) -> None:
    """Remove a folder that chatmill created.

    Raises:
        UserError: chatmill did not create the folder; it is unchanged.
    """
    check_folder(folder, signs)
    if folder.is_dir():
        # The marker goes last: without it, what a kill leaves would look like somebody's own.
        for path in sorted(folder.iterdir()):
            if path.name in (MARKER, *signs):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def leads_elsewhere(root: Path, folder: Path) -> bool:
    """Return whether a folder below `var/` is a link or a mount point that chatmill has not marked.

    Files there may be somebody's own, whatever their names. `var/` itself may be a link, because its records
    show whose it is.

    Args:
        root: The project's folder.
        folder: The folder, relative to `root`.
    """
    above = [place for place in (folder, *folder.parents) if len(place.parts) > 1]
    linked = any((root / place).is_symlink() or os.path.ismount(root / place) for place in above)
    return linked and not (root / folder / MARKER).is_file()


def marker_advice(folder: Path) -> str:
    """Return why `gc` removes nothing from a folder that leads elsewhere, and how to allow it."""
    return f"a link or another disk, which may contain other files; `touch {folder}/{MARKER}` allows gc there"


def replace_folder(source: Path | None, target: Path, is_ours: Callable[[str], bool]) -> None:
    """Replace the content of `target` by a copy of `source`; remove `target` if `source` is None.

    Args:
        source: The folder to copy.
        target: The folder to replace.
        is_ours: Returns whether chatmill writes a file of that path, given relative to `target`.

    Raises:
        UserError: `target` holds a file that is not chatmill's. Nothing is changed.
    """
    for name in _entry_names(target):
        if name != MARKER and not is_ours(name):
            raise UserError(
                f"{target}/{name} is not a file of chatmill, which would replace that folder; move "
                "the file elsewhere and run again"
            )
    if target.is_dir():
        shutil.rmtree(target)
    if source is not None:
        copy_folder(source, target)
        (target / MARKER).write_text(ABOUT, encoding="utf-8")


def copy_folder(source: Path, target: Path) -> None:
    """Copy the files of a folder; unlike `shutil.copytree`, raise the OSError that stopped the copy."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        else:
            shutil.copyfile(path, place)


def _entry_names(folder: Path) -> Iterator[str]:
    if folder.is_symlink() and not folder.is_dir():
        yield "."
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*files, *links]):
            yield (Path(place) / name).relative_to(folder).as_posix()
