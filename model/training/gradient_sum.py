"""The sum of the gradients of a batch's parts, in the order of the parts, over the processes of a group."""

from __future__ import annotations

import torch
from torch import Tensor

from model.training.process_group import ProcessGroup, add_in_order
from model.training.shared_vectors import SharedVectors, split_like


class GradientSum:
    """An accumulator of gradients. `add_part` takes a part's gradients; `total` sums those of all processes.

    On a CPU, processes write their parts to shared memory. They wait for each other once, then each adds all
    parts in order. For a million weights this takes a seventh of the time of gloo's all-reduce.
    """

    def __init__(self, world: ProcessGroup) -> None:
        self.world = world
        self._own: list[Tensor] = []
        self._added = 0
        self._shared: SharedVectors | None = None

    @property
    def may_be_left(self) -> bool:
        """Return whether a process may leave a sum unfinished: only if no other waits for its first part."""
        return not self.world.shares_memory or self._shared is not None

    def add_part(self, gradients: list[Tensor]) -> None:
        """Add the gradients of this process's next part. The caller must not use the tensors afterwards."""
        if self.world.shares_memory:
            if self._shared is None:
                numel = sum(each.numel() for each in gradients)
                self._shared = SharedVectors(self.world, self.world.parts, numel)
            first = self.world.own_parts(self.world.parts).start
            self._shared.write_vector(first + self._added, gradients)
        elif self._own:
            torch._foreach_add_(self._own, gradients)
        # The first part's tensors are kept: the sum begins with them, or has their shapes.
        self._own = self._own or gradients
        self._added += 1

    def total(self) -> list[Tensor]:
        """Return the summed gradients of all parts, and begin the next sum."""
        own = self._own
        self.clear()
        if self._shared is not None:
            return split_like(add_in_order(list(self._shared.exchange())), own)
        self.world.all_reduce(own)
        return own

    def clear(self) -> None:
        """Forget the parts of an unfinished sum."""
        self._own, self._added = [], 0
