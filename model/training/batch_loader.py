"""The batches of a process, each made while the step before it is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor


class BatchLoader:
    """Batches by step, as tensors on a device.

    For a GPU, a thread makes the next batch in pinned memory while the step before it is computed, and the
    copy to the GPU does not wait. On a CPU the thread would take time from the step, so a batch is made when
    it is asked for. A batch depends on its step alone, so the result is the same.
    """

    def __init__(
        self, make_batch: Callable[[int], Sequence[Tensor]], device: str, ahead: bool | None = None
    ) -> None:
        """Store how batches are made.

        Args:
            make_batch: Returns the tensors of a step's batch, on the host. It must not change any state.
            device: "cpu" or "cuda".
            ahead: Whether a thread makes the next batch; None: on a GPU.
        """
        self.make_batch, self.device = make_batch, device
        self.pinned = device == "cuda"
        self._pool = ThreadPoolExecutor(1, "batches") if (self.pinned if ahead is None else ahead) else None
        self._next: tuple[int, Future[list[Tensor]]] | None = None

    def load_batch(self, step: int) -> list[Tensor]:
        """Return the batch of a step on the device, and begin to make the next one.

        Raises:
            Exception: The error of `make_batch`.
        """
        if self._pool is None:
            return [part.to(self.device) for part in self._make(step)]
        begun, self._next = self._next, None
        # Another step than the next one follows a batch that is skipped.
        made = begun[1] if begun and begun[0] == step else self._pool.submit(self._make, step)
        batch = [part.to(self.device, non_blocking=True) for part in made.result()]
        self._next = step + 1, self._pool.submit(self._make, step + 1)
        return batch

    def _make(self, step: int) -> list[Tensor]:
        parts = self.make_batch(step)
        # Contiguous, as a copy to a GPU waits for a tensor whose elements are apart.
        return [part.contiguous().pin_memory() for part in parts] if self.pinned else list(parts)


def own_slice(part: slice, own: slice) -> slice:
    """Return a slice of a batch's units as a slice of those that this process loaded."""
    return slice(part.start - own.start, part.stop - own.start)
