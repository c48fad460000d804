"""The writing of checkpoints by a thread, while the training goes on."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from model.training.checkpoint import save_checkpoint


class CheckpointWriter:
    """A writer of checkpoints. It copies the state aside and writes the copy in a thread.

    The copies on the host are kept and used again: pinning memory takes longer than copying to it. The next
    checkpoint waits for the one before. A kill during the write leaves the older checkpoints.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.pinned = folder, device == "cuda"
        # The duration of the last write in seconds, with its copy.
        self.seconds = 0.0
        self._copies: dict[tuple[str | int, ...], Tensor] = {}
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def remove_unfinished(self) -> None:
        """Remove what a kill during a write left; the next write has another name."""
        for part in self.folder.glob("*.part"):
            part.unlink(missing_ok=True)

    @property
    def is_busy(self) -> bool:
        """Return whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Copy `state` aside and begin to write it as the checkpoint after `step` steps.

        Raises:
            OSError: The checkpoint before could not be written, such as on a full disk.
        """
        self.wait()
        began = time.monotonic()
        copy = self._copy_aside(state, ())
        if self.pinned:
            # The copies run on the device's stream, and the next step changes what they read.
            torch.cuda.current_stream().synchronize()
        self._thread = Thread(target=self._write, args=(step, copy, began), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return once the last checkpoint is written. Raise the error that prevented it."""
        self._join()
        self.raise_error()

    def raise_error(self) -> None:
        """Raise the error of the last write, if there was one and the write has ended."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Return once no checkpoint is being written, whether or not it succeeds."""
        self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, step: int, state: dict[str, Any], began: float) -> None:
        try:
            self._save_copy(step, state)
        except BaseException as error:
            # Raised again in the thread of the training.
            self._error = error
        self.seconds = time.monotonic() - began

    def _save_copy(self, step: int, state: dict[str, Any]) -> None:
        save_checkpoint(self.folder, step, state)

    def _copy_aside(self, value: Any, path: tuple[str | int, ...]) -> Any:
        """Return a value with copies of its tensors on the host; `path` is its place in the state."""
        if isinstance(value, dict):
            return {name: self._copy_aside(part, (*path, name)) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._copy_aside(part, (*path, number)) for number, part in enumerate(value)]
        if not isinstance(value, Tensor):
            return value
        copy = self._copies.get(path)
        if copy is None or copy.shape != value.shape or copy.dtype != value.dtype:
            # Contiguous, whatever the layout of the original: the file has the elements in order.
            copy = torch.empty(value.shape, dtype=value.dtype, pin_memory=self.pinned)
            self._copies[path] = copy
        return copy.copy_(value, non_blocking=True)
