"""Vectors in memory that the processes of a group on one machine share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.training.process_group import ProcessGroup


class SharedVectors:
    """Float32 vectors that every process of a group reads, and of which each writes some.

    There are two sets of them, used in turn: a fast process writes one while a slow process still reads the
    other. Waiting for each other once an exchange is then enough. A process without others has private
    memory.
    """

    def __init__(self, world: ProcessGroup, count: int, numel: int) -> None:
        self.world = world
        size = 2 * count * numel
        memory = _map_shared(size, world) if world.shares_memory else torch.zeros(size)
        self.sets = memory.view(2, count, numel)
        self.turn = 0

    @property
    def writable(self) -> Tensor:
        """Return the vectors that are written until the next exchange, [count, numel]."""
        return self.sets[self.turn]

    def write_vector(self, number: int, tensors: Sequence[Tensor]) -> None:
        """Write vector `number`: the tensors one after the other."""
        torch._foreach_copy_(split_like(self.writable[number], tensors), list(tensors))

    def exchange(self) -> Tensor:
        """Return the vectors once every process has written its own; the next exchange reuses the memory."""
        self.world.wait_for_all()
        written = self.writable
        self.turn = 1 - self.turn
        return written


def split_like(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return views of a vector, one after the other, in the shapes of some tensors."""
    places = vector.split([each.numel() for each in like])
    return [place.view(each.shape) for place, each in zip(places, like, strict=True)]


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
        descriptor = os.memfd_create("chatmill-vectors")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="chatmill-vectors-")
    os.ftruncate(descriptor, length)
    return descriptor, path
