"""Checkpoints of shared weights: each process writes its rows, and any number of processes reads them.

A checkpoint is a folder with one file a process. The first process renames the folder when all files are
written, so it is complete or absent. The files have checksums and hold no code, unlike those of
`torch.distributed.checkpoint`.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.training.checkpoint import KEPT, DamagedFile, check_sums, rename_damaged, write_synced
from model.training.checkpoint_writer import CheckpointWriter
from model.training.process_group import ProcessGroup

# How often the first process looks for the files of the others, and how long after an error.
_LOOK_SECONDS, _GRACE_SECONDS = 0.02, 10.0
_FILE = re.compile(r"(\d{5})-of-(\d{5})\.pt")


def save_shards(path: Path, state: dict[str, Any], rows: dict[str, int], world: ProcessGroup) -> None:
    """Write a state to the folder `path`; all processes call it together.

    Args:
        path: The folder, which is replaced if it exists.
        state: Plain values and tensors. A tensor under the name of a weight holds this process's rows of it;
            everything else is the same on all processes.
        rows: The number of rows of each whole weight, by name.
        world: The processes.
    """
    _create_part(path, world)
    _write_own(path, state, rows, world)
    world.wait_for_all()
    if world.rank == 0:
        _publish(path)
    world.wait_for_all()


class ShardedWriter(CheckpointWriter):
    """A `CheckpointWriter` of shared weights: each process copies its rows aside and writes them in a thread.

    The thread of the first process waits for the files of all, and then renames the folder.
    """

    def __init__(self, folder: Path, rows: dict[str, int], world: ProcessGroup) -> None:
        """Store the folder of the checkpoints.

        Args:
            folder: The folder.
            rows: The number of rows of each whole weight, by name.
            world: The processes; all save each checkpoint together.
        """
        super().__init__(folder, world.device)
        self.rows, self.world = rows, world
        self._given_up = math.inf

    def remove_unfinished(self) -> None:
        """Remove what a kill during a write left."""
        for part in self.folder.glob("*.part"):
            shutil.rmtree(part)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Copy `state` aside and begin to write it as the checkpoint after `step` steps.

        Raises:
            OSError: The checkpoint before could not be written, such as on a full disk.
        """
        self.wait()
        _create_part(_checkpoint_path(self.folder, step), self.world)
        super().save(step, state)

    def close(self) -> None:
        """Return once no checkpoint is being written, or another process did not write its file in time."""
        self._given_up = time.monotonic() + _GRACE_SECONDS
        super().close()

    def _save_copy(self, step: int, state: dict[str, Any]) -> None:
        path = _checkpoint_path(self.folder, step)
        _write_own(path, {"step": step, **state}, self.rows, self.world)
        if self.world.rank:
            return
        # The files rather than the processes are waited for: those communicate in their main threads only.
        while len(list(_part(path).glob("*.pt"))) < self.world.size:
            if time.monotonic() > self._given_up:
                return
            time.sleep(_LOOK_SECONDS)
        _publish(path)
        for old in _newest_first(self.folder)[KEPT:]:
            shutil.rmtree(old)


def _create_part(path: Path, world: ProcessGroup) -> None:
    """Create the empty folder that becomes `path`; all processes call it together."""
    if world.rank == 0:
        shutil.rmtree(_part(path), ignore_errors=True)
        _part(path).mkdir(parents=True)
    world.wait_for_all()


def _write_own(path: Path, state: dict[str, Any], rows: dict[str, int], world: ProcessGroup) -> None:
    name = f"{world.rank:05d}-of-{world.size:05d}.pt"
    write_synced(_part(path) / name, {"state": state, "rows": rows})


def _publish(path: Path) -> None:
    """Rename the folder with all files to `path`."""
    _sync_folder(_part(path))
    # A folder cannot be renamed over another one that has files.
    former = _former(path)
    shutil.rmtree(former, ignore_errors=True)
    if path.exists():
        path.rename(former)
    _part(path).rename(path)
    _sync_folder(path.parent)
    shutil.rmtree(former, ignore_errors=True)


def load_sharded_checkpoint(
    folder: Path, note: Callable[[str], None], world: ProcessGroup
) -> dict[str, Any] | None:
    """Return the newest undamaged checkpoint with this process's rows, on the CPU; None if there is none.

    The first process chooses the checkpoint. A damaged one is renamed to `NAME.damaged`.

    Args:
        folder: The folder of the checkpoints.
        note: Called with a sentence about each damaged one.
        world: The processes, of any number.

    Raises:
        Exception: Any error that does not come from the bytes of a file. No file is touched then.
    """
    while True:
        newest = _newest_first(folder) if world.rank == 0 else []
        name = world.text_from_first(newest[0].name if newest else "")
        if not name:
            return None
        try:
            return load_shards(folder / name, world)
        except DamagedFile as error:
            # Raised on every process.
            if world.rank == 0:
                renamed = rename_damaged(folder / name)
                note(
                    f"{folder / name} is damaged ({error}) and was renamed to {renamed.name}; the previous "
                    "checkpoint is used"
                )
            world.wait_for_all()


def load_shards(path: Path, world: ProcessGroup) -> dict[str, Any]:
    """Return a state of `save_shards` with this process's rows, on the CPU; all processes call it together.

    Raises:
        FileNotFoundError: The folder does not exist.
        DamagedFile: A file is missing, or its bytes are not as written; raised on every process.
    """
    if world.rank == 0 and not path.exists() and (former := _former(path)).exists():
        # A kill came between the two renames of `save_shards`.
        former.rename(path)
    world.wait_for_all()
    if not path.is_dir():
        raise FileNotFoundError(path)
    files = sorted(each for each in path.iterdir() if _FILE.fullmatch(each.name))
    if fault := world.text_from_any(_find_fault(files, world)):
        raise DamagedFile(fault)
    # Mapped, so that only the rows of this process are read.
    stored = [torch.load(file, map_location="cpu", weights_only=True, mmap=True) for file in files]
    rows: dict[str, int] = stored[0]["rows"]
    written = ProcessGroup(size=len(stored))
    places = [
        {name: written.rows_of(rank, count) for name, count in rows.items()} for rank in range(len(stored))
    ]
    wanted = {name: world.own_rows(count) for name, count in rows.items()}
    found: dict[str, Any] = _merge([each["state"] for each in stored], places, wanted)
    return found


def _find_fault(files: list[Path], world: ProcessGroup) -> str:
    """Return what is wrong with the files that this process checks; empty if they are as written."""
    numbers = [_FILE.fullmatch(file.name) for file in files]
    sizes = {int(number[2]) for number in numbers if number}
    if len(sizes) != 1 or len(files) != sizes.pop():
        return f"it has {len(files)} files, which are not all"
    for file in files[world.rank :: world.size]:
        try:
            check_sums(file)
        except DamagedFile as error:
            return f"{file.name}: {error}"
    return ""


def _merge(values: list[Any], places: list[dict[str, slice]], wanted: dict[str, slice]) -> Any:
    """Return one state of those of all files, with the wanted rows of each weight."""
    if not isinstance(values[0], dict):
        # The same in every file.
        return values[0]
    merged = {}
    for name in values[0]:
        inside = [value[name] for value in values]
        if name in wanted and isinstance(inside[0], Tensor):
            merged[name] = _take_rows(inside, [place[name] for place in places], wanted[name])
        else:
            merged[name] = _merge(inside, places, wanted)
    return merged


def _take_rows(parts: list[Tensor], places: list[slice], wanted: slice) -> Tensor:
    """Return some rows of a weight from the parts of it, which begin and end at `places`."""
    taken = [
        part[max(wanted.start, place.start) - place.start : min(wanted.stop, place.stop) - place.start]
        for part, place in zip(parts, places, strict=True)
        if place.start < wanted.stop and wanted.start < place.stop
    ]
    return torch.cat(taken) if taken else parts[0][:0].clone()


def _checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"{step:08d}"


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _former(path: Path) -> Path:
    return path.with_name(path.name + ".former")


def _newest_first(folder: Path) -> list[Path]:
    return sorted((each for each in folder.glob("[0-9]*") if each.name.isdigit()), reverse=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
