"""The processes that train together, and the parts of a batch that they share.

On a CPU a batch has a fixed number of parts. Each part is computed by itself, and the results are added in
the order of the parts. Any number of processes that share the parts therefore gives the same bits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from model.data.chunks import chunk_slices
from model.errors import UserError
from model.training.devices import check_processes, compute_repeatably, too_few_units


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together. In a group of one, communication does nothing.

    Attributes:
        rank: The number of this process, from 0.
        size: The number of processes: one a GPU, or some on a CPU.
        device: "cpu" or "cuda".
        parts: The number of parts of a batch, at least `size`.
        sharded: Whether each process stores its own rows of the weights only. Each has one part then.
        machines: The number of machines.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    parts: int = 1
    sharded: bool = False
    machines: int = 1

    @staticmethod
    def join_group(device: str, parts: int = 1, sharded: bool = False) -> ProcessGroup:
        """Join the process group that the environment describes, as torchrun does.

        Args:
            device: "cpu" or "cuda".
            parts: The number of parts of a batch on a CPU. A GPU computes its share of a batch whole.
            sharded: Whether each process stores its own rows of the weights only.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        if device == "cuda":
            check_processes(device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
            compute_repeatably()
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl" if device == "cuda" else "gloo"
        if size > 1 and not dist.is_initialized():
            dist.init_process_group(backend)
        elif sharded and not dist.is_initialized():
            # Sharding needs a group, even of one process, so that a checkpoint fits any number of them.
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        whole = device == "cuda" or sharded
        machines = max(1, size // int(os.environ.get("LOCAL_WORLD_SIZE", str(size))))
        return ProcessGroup(rank, size, device, size if whole else max(size, parts), sharded, machines)

    @property
    def shares_memory(self) -> bool:
        """Return whether there are several processes, all on the CPU of one machine."""
        return self.size > 1 and self.device == "cpu" and self.machines == 1

    def count_parts(self, rows: int) -> int:
        """Return the number of parts that `rows` rows make: none is empty."""
        return min(self.parts, rows)

    def own_parts(self, rows: int) -> range:
        """Return the numbers of this process's parts of `rows` rows."""
        parts = self.count_parts(rows)
        return range(parts * self.rank // self.size, parts * (self.rank + 1) // self.size)

    def shard_parts(self, rows: int) -> list[slice]:
        """Return the rows of each of this process's parts, in order."""
        parts = self.count_parts(rows)
        return [slice(rows * n // parts, rows * (n + 1) // parts) for n in self.own_parts(rows)]

    def shard_rows(self, rows: int) -> slice:
        """Return this process's contiguous share of `rows` rows: the rows of its parts."""
        own = self.shard_parts(rows)
        return slice(own[0].start, own[-1].stop) if own else slice(0, 0)

    def own_rows(self, count: int) -> slice:
        """Return the rows of a weight that this process stores if the processes share the weights.

        Rows are divided as `torch.distributed.fsdp` divides them: all processes but the last have equally
        many, and the last ones may have none.
        """
        return self.rows_of(self.rank, count)

    def rows_of(self, rank: int, count: int) -> slice:
        """Return the rows of a weight that the process `rank` stores; see `own_rows`."""
        each = -(-count // self.size)
        return slice(min(rank * each, count), min((rank + 1) * each, count))

    def micro_batches(self, part: slice, units: int, size: int) -> list[tuple[slice, float]]:
        """Return the slices of a part that go through the model at once, each with the factor of its loss.

        Processes that share the weights compute each layer together, so all need the same number of passes.
        One with fewer slices repeats its last slice with the factor 0.

        Args:
            part: A part of this process, as in `shard_parts`.
            units: The number of units over all processes.
            size: The most units of a slice; 0: the whole part.
        """
        own = [(rows, 1.0) for rows in chunk_slices(part, size)]
        if self.sharded and size:
            # The largest part: parts differ by one unit at most.
            largest = math.ceil(units / self.count_parts(units))
            most = math.ceil(largest / size)
            own += [(own[-1][0], 0.0)] * (most - len(own))
        return own

    def check_units(self, count: int, name: str) -> None:
        """Raise UserError if some process would have none of `count` units; `name` is their preset key.

        The processes sum their gradients together, so one without units would leave the others waiting.
        """
        if count < self.size:
            raise UserError(too_few_units(name, count, self.size))

    def all_reduce(self, tensors: list[Tensor]) -> None:
        """Sum each tensor over the processes, in place, in one message."""
        if self.size == 1 or not tensors:
            return
        # One message: each all-reduce has a fixed cost, and a model has many small tensors.
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        torch._foreach_copy_(
            tensors,
            [
                part.view_as(t)
                for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)
            ],
        )

    def gather_rows(self, tensor: Tensor, rows: int) -> Tensor:
        """Return all rows, in order, on every process.

        Args:
            tensor: This process's share of the rows, as in `shard_rows`.
            rows: The number of all rows.
        """
        return self._gather(tensor, self.shard_rows(rows), rows)

    def sum_parts(self, sums: list[Tensor], rows: int) -> Tensor:
        """Return the sum over all parts of `rows` rows, in the order of the parts, on every process.

        Args:
            sums: One tensor for each of this process's parts.
            rows: The number of all rows.
        """
        own = self.own_parts(rows)
        every = self._gather(torch.stack(sums), slice(own.start, own.stop), self.count_parts(rows))
        return add_in_order(list(every))

    def sum_chunks(self, count: int, size: int, chunk_sums: Callable[[slice], Tensor]) -> Tensor:
        """Return the sum over all chunks of `count` rows, in the order of the chunks, on every process.

        Args:
            count: The number of rows.
            size: The number of rows of a chunk; the last one may have fewer.
            chunk_sums: Returns the sums of a chunk. It is called for this process's chunks.
        """
        chunks = list(chunk_slices(slice(0, count), size))
        sums = self.map_chunks(len(chunks), 1, lambda one: chunk_sums(chunks[one.start]).unsqueeze(0))
        return add_in_order(list(sums))

    def map_chunks(self, count: int, size: int, chunk_rows: Callable[[slice], Tensor]) -> Tensor:
        """Return one result a row of `count` rows, in order, on every process.

        Args:
            count: The number of rows, 1 or more.
            size: The number of rows of a chunk; the last one may have fewer.
            chunk_rows: Returns the results of a chunk, one a row. It is called for this process's chunks.
        """
        chunks = list(chunk_slices(slice(0, count), size))
        own = chunks[self.rank :: self.size]
        places = torch.cat([torch.arange(count)[chunk] for chunk in own or [slice(0, 0)]])
        # A process without a chunk computes one that another has too, for the shape of its result.
        found = torch.cat([chunk_rows(chunk) for chunk in own or chunks[:1]])[: len(places)]
        return self._gather(found, places, count)

    def _gather(self, tensor: Tensor, own: slice | Tensor, count: int) -> Tensor:
        if self.size == 1:
            return tensor
        # A sum over zeros: shares may differ by a row, and all_gather needs shares of equal size.
        whole = torch.zeros((count, *tensor.shape[1:]), dtype=tensor.dtype, device=self.device)
        whole[own.to(self.device) if isinstance(own, Tensor) else own] = tensor.to(self.device)
        dist.all_reduce(whole)
        return whole

    def any_process(self, flag: bool) -> bool:
        """Return True on every process if `flag` is true on any."""
        if self.size == 1:
            return flag
        shared = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(shared)
        return bool(shared.item() > 0)

    def gather_weight(self, rows: Tensor, count: int) -> Tensor:
        """Return a whole weight of `count` rows, on every process, from each one's `own_rows` of it."""
        if self.size == 1:
            return rows
        each = -(-count // self.size)
        padded = rows.new_zeros(each, *rows.shape[1:])
        padded[: len(rows)] = rows
        whole = rows.new_empty(self.size * each, *rows.shape[1:])
        dist.all_gather_into_tensor(whole, padded)
        return whole[:count]

    def exchange_rows(self, given: list[Tensor], taken: list[int], like: Tensor) -> list[Tensor]:
        """Send a tensor to each process, and return those that the processes sent to this one.

        Args:
            given: One tensor for each process.
            taken: The number of numbers that each process sends here.
            like: A tensor of the same type and device.
        """
        if self.size == 1:
            return [given[0].reshape(-1)]
        found = like.new_empty(sum(taken))
        sent = torch.cat([tensor.reshape(-1) for tensor in given])
        dist.all_to_all_single(found, sent, taken, [tensor.numel() for tensor in given])
        return list(found.split(taken))

    def from_first(self, value: int) -> int:
        """Return the first process's value on every process."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.int64, device=self.device)
        dist.broadcast(shared, 0)
        return int(shared.item())

    def text_from_first(self, text: str) -> str:
        """Return the first process's text, of at most 4,096 bytes, on every process."""
        return self._text_from(0, text)

    def text_from_any(self, text: str) -> str:
        """Return a text that is not empty on every process, if any process has one; cut at 4,096 bytes."""
        if self.size == 1:
            return text
        source = torch.tensor(self.rank if text else -1, device=self.device)
        dist.all_reduce(source, dist.ReduceOp.MAX)
        chosen = int(source.item())
        return self._text_from(chosen, text) if chosen >= 0 else ""

    def _text_from(self, rank: int, text: str) -> str:
        if self.size == 1:
            return text
        shared = torch.zeros(4096, dtype=torch.uint8, device=self.device)
        encoded = text.encode()[:4096] if self.rank == rank else b""
        shared[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
        dist.broadcast(shared, rank)
        return bytes(shared.tolist()).rstrip(b"\0").decode(errors="ignore")

    def wait_for_all(self) -> None:
        """Return once every process has reached this call."""
        if self.size > 1:
            dist.barrier()


def add_in_order(tensors: list[Tensor]) -> Tensor:
    """Return the sum of one or more tensors of one shape, added one after the other."""
    # torch.sum may add in another order.
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total += tensor
    return total
