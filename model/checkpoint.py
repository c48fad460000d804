"""Checkpoints: all that the next step depends on, written so that a kill at any moment loses nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

KEPT = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` as the checkpoint after `step` steps and keep the newest two.

    Written aside, synced and renamed: a checkpoint is there whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{step:08d}.pt", {"step": step, **state})
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path, device: str, note: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None. One that is not is named through `note` and removed."""
    for path in _newest_first(folder):
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError) as error:
            note(f"{path} is not whole ({type(error).__name__}); going on from the checkpoint before it")
            path.unlink(missing_ok=True)
            continue
        return state
    return None


def write_whole(path: Path, state: dict[str, Any]) -> None:
    """torch.save to a file beside `path`, synced to disk, then renamed over it."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.pt"), reverse=True)
