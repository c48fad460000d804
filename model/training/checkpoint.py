"""Checkpoints: all that the next step depends on, written so that a kill at any moment loses nothing."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model.atomic_file import atomic_path
from model.errors import UserError
from model.training.process_group import ProcessGroup

# Two, so that a damaged one leaves another to resume from.
KEPT = 2
DAMAGED = ".damaged"
# The step that means "no checkpoint" between processes.
_NONE = -1


class DamagedFile(Exception):
    """The error for a file whose bytes are not those that were written; its text says what is wrong."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` as the checkpoint after `step` steps and keep the newest two.

    The file is written under another name, synced and renamed, so it is complete or absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_synced(_checkpoint_path(folder, step), {"step": step, **state})
    # Old files are removed only after the new one is complete.
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, note: Callable[[str], None], world: ProcessGroup | None = None
) -> dict[str, Any] | None:
    """Return the newest undamaged checkpoint with tensors on the CPU; None if there is none.

    The first process chooses the checkpoint and sends its step to the others, so that all load the same one.
    A damaged file is renamed to `NAME.damaged`.

    Args:
        folder: The folder of the checkpoints.
        note: Called with a sentence about each damaged file.
        world: The processes of the training; None: this one alone.

    Raises:
        UserError: Another process does not find the chosen checkpoint.
        Exception: Any error that does not come from the bytes of the file, such as a lack of memory or a
            failing disk. No file is touched then.
    """
    world = world or ProcessGroup()
    state = _newest_checkpoint(folder, note) if world.rank == 0 else None
    step = world.from_first(int(state["step"]) if state else _NONE)
    if world.rank == 0 or step == _NONE:
        return state
    path = _checkpoint_path(folder, step)
    if not path.exists():
        raise UserError(
            f"process {world.rank} of {world.size} does not find {path}, from which process 0 resumes; "
            "all processes of a training need the same folder, on a shared file system"
        )
    return load_file(path)


def load_file(path: Path) -> dict[str, Any]:
    """Load a file of `write_synced` onto the CPU. Raise DamagedFile if its bytes are not as written."""
    # torch does not compare the checksums in the file, so a flipped bit would become a wrong weight.
    check_sums(path)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch reports damaged bytes by these errors, and a lack of memory by others.
        damaged = isinstance(error, EOFError) or type(error).__name__ == "UnpicklingError"
        if not (damaged or (isinstance(error, RuntimeError) and "PytorchStreamReader" in str(error))):
            raise
        raise DamagedFile(str(error).partition("\n")[0] or type(error).__name__) from error
    return state


def write_synced(path: Path, state: dict[str, Any]) -> None:
    """Save `state` with torch.save to a file beside `path`, sync it, and rename it over `path`."""
    part = path.with_suffix(".part")
    with atomic_path(path, part), part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        # Without fsync a power failure after the rename can leave an empty file of the final name.
        os.fsync(file.fileno())


def rename_damaged(path: Path) -> Path:
    """Rename a damaged file to `NAME.damaged`, `NAME.damaged.2` and so on; return the new path."""
    number = 1
    while (renamed := path.with_name(f"{path.name}{DAMAGED}{f'.{number}' if number > 1 else ''}")).exists():
        number += 1
    return path.rename(renamed)


def _newest_checkpoint(folder: Path, note: Callable[[str], None]) -> dict[str, Any] | None:
    for path in _newest_first(folder):
        try:
            return load_file(path)
        except DamagedFile as error:
            renamed = rename_damaged(path)
            note(
                f"{path} is damaged ({error}) and was renamed to {renamed.name}; the previous "
                "checkpoint is used"
            )
    return None


def check_sums(path: Path) -> None:
    """Compare each part of the archive with its CRC-32. Raise DamagedFile, or the disk's OSError."""
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                wrong = archive.testzip()
        except OSError as error:
            # A damaged directory of the archive gives a position outside the file.
            if error.errno != errno.EINVAL:
                raise
            raise DamagedFile("not a whole archive") from error
        except MemoryError:
            raise
        except Exception as error:
            # Damaged headers raise a dozen kinds of errors: BadZipFile, EOFError, UnicodeDecodeError, ...
            raise DamagedFile(f"not a whole archive: {type(error).__name__}") from error
    if wrong is not None:
        raise DamagedFile(f"the checksum of {wrong} is wrong")


def _checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"{step:08d}.pt"


def _newest_first(folder: Path) -> list[Path]:
    # Numbers are padded to eight digits, so the order of names is that of steps.
    return sorted(folder.glob("[0-9]*.pt"), reverse=True)
