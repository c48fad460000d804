"""The sum of the gradients of a batch's parts, in the order of the parts, over the processes of a group."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from model.training.process_group import ProcessGroup, add_in_order


class GradientSum:
    """An accumulator of gradients. `add_part` takes a part's gradients; `total` sums those of all processes.

    On a CPU, processes write their parts to shared memory. They wait for each other once, then each adds all
    parts in order. For a million weights this takes a seventh of the time of gloo's all-reduce.
    """

    def __init__(self, world: ProcessGroup) -> None:
        self.world = world
        self._shares_memory = world.size > 1 and world.device == "cpu"
        self._own: list[Tensor] = []
        self._added = 0
        self._shared: SharedParts | None = None

    def add_part(self, gradients: list[Tensor]) -> None:
        """Add the gradients of this process's next part. The caller must not use the tensors afterwards."""
        if self._shares_memory:
            if self._shared is None:
                self._shared = SharedParts(self.world, sum(each.numel() for each in gradients))
            first = self.world.own_parts(self.world.parts).start
            self._shared.write_part(first + self._added, gradients)
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
            return self._shared.sum_parts(own)
        self.world.all_reduce(own)
        return own

    def clear(self) -> None:
        """Forget the parts of an unfinished sum."""
        self._own, self._added = [], 0


class SharedParts:
    """One float32 vector a part, in memory that the processes of one machine share.

    There are two sets of vectors, used in turn: a fast process writes one while a slow process still reads
    the other. Waiting for each other once a step is then enough.
    """

    def __init__(self, world: ProcessGroup, numel: int) -> None:
        self.world = world
        size = 2 * world.parts * numel
        memory = _map_shared(size, world)
        self.sets = memory.view(2, world.parts, numel)
        self.turn = 0

    def write_part(self, part: int, gradients: list[Tensor]) -> None:
        """Write the gradients of part number `part`, one after the other."""
        vector = self.sets[self.turn, part]
        places = vector.split([each.numel() for each in gradients])
        torch._foreach_copy_(list(places), [each.reshape(-1) for each in gradients])

    def sum_parts(self, like: list[Tensor]) -> list[Tensor]:
        """Return the sums of all parts, in the shapes of `like`, once every process has written."""
        self.world.wait_for_all()
        total = add_in_order(list(self.sets[self.turn]))
        self.turn = 1 - self.turn
        places = total.split([each.numel() for each in like])
        return [place.view_as(each) for place, each in zip(places, like, strict=True)]


def _map_shared(size: int, world: ProcessGroup) -> Tensor:
    """Return `size` float32 numbers that all processes of the group share. Nothing is left when they end."""
    descriptor, path = _create_file(size * 4) if world.rank == 0 else (-1, "")
    path = world.text_from_first(path)
    memory = torch.from_file(path, shared=True, size=size, dtype=torch.float32)
    # Every process has mapped the memory after this call, and it is freed with the last of them.
    world.wait_for_all()
    if world.rank == 0:
        os.close(descriptor)
        if not path.startswith("/proc/"):
            Path(path).unlink()
    return memory


def _create_file(length: int) -> tuple[int, str]:
    """Create an empty file of `length` bytes; return its descriptor and a path that other processes open."""
    if hasattr(os, "memfd_create"):
        # Memory without a name: /dev/shm is small in containers, and a killed process would leave its file.
        descriptor = os.memfd_create("chatmill-gradients")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="chatmill-gradients-")
    os.ftruncate(descriptor, length)
    return descriptor, path
