"""The setting of a training process: its device, its arithmetic, and the other processes of its group."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from model.errors import UserError

DEVICES = ("auto", "cpu", "cuda")
# Weights, gradients and two moments of the optimizer in float32: the least memory of a training.
_BYTES_A_WEIGHT = 16


def find_device(wanted: str = "auto") -> str:
    """Return the kind of device to train on: "cuda" or "cpu".

    Raises:
        UserError: This machine does not have the device in `wanted`.
    """
    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if available else "cpu"
    if wanted not in DEVICES:
        raise UserError(f"device: {wanted!r} is not valid; expected auto, cpu or cuda")
    if wanted == "cuda" and not available:
        raise UserError("device: cuda was asked for, but torch finds no CUDA device; set it to auto or cpu")
    return wanted


def check_processes(device: str, processes: int) -> None:
    """Raise UserError if there are more training processes than GPUs for them."""
    if device != "cuda":
        return
    count = torch.cuda.device_count()
    if processes > count:
        raise UserError(
            f"num_processes is {processes}, and torch sees {count} GPU{'s' if count != 1 else ''} "
            "here; lower "
            "num_processes, or make more GPUs visible (CUDA_VISIBLE_DEVICES)"
        )


def check_memory(weights: int, device: str) -> None:
    """Raise UserError if this machine has less memory than a training of so many weights needs."""
    if device == "cuda":
        there = torch.cuda.get_device_properties(0).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if (needed := weights * _BYTES_A_WEIGHT) > there:
        raise UserError(
            f"architecture: a model of {weights:,} weights needs {needed / 1e9:,.1f} GB or more in training, "
            f"and the {'GPU' if device == 'cuda' else 'machine'} has {there / 1e9:,.1f} GB; lower "
            "architecture.num_layers, architecture.hidden_size or tokenizer.vocab_size"
        )


def describe_device(kind: str) -> str:
    """Return the kind of device as it enters a cache key: results are comparable within one kind."""
    return f"cuda {torch.cuda.get_device_name(0)}" if kind == "cuda" else "cpu"


def describe_processor() -> str:
    """Return the CPU's name with torch's instruction set there; results are bit-identical within one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def compute_dtype(device: str) -> torch.dtype:
    """Return bfloat16 if the hardware multiplies it natively, else float32.

    On a CPU without avx512_bf16 or amx_bf16, bfloat16 products are emulated and slower than float32.
    """
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def compute_repeatably() -> None:
    """Make this process's CUDA operations give the same bits each time.

    An operation that cannot raises RuntimeError. Call it before the CUDA libraries are first used.
    """
    # cuBLAS: with several workspaces a sum depends on what else is computed at the time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Inductor: kernels chosen by measured time may sum in another order the next time.
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    torch.use_deterministic_algorithms(True)
    # All memory is written before it is read here; filling it first would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def too_few_units(name: str, count: int, processes: int) -> str:
    """Return the message that a batch or the like cannot be shared among the processes."""
    return (
        f"{name} is {count}, and num_processes is {processes}; each process needs one: raise {name}, "
        "or lower num_processes"
    )


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, one a device. In a group of one, communication does nothing."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @staticmethod
    def join_group(device: str) -> ProcessGroup:
        """Join the process group that the elastic launcher described in the environment."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        if device == "cuda":
            check_processes(device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
            compute_repeatably()
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        if size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device == "cuda" else "gloo")
        return ProcessGroup(rank, size, device)

    def shard_rows(self, rows: int) -> slice:
        """Return this process's contiguous part of `rows` rows."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def check_units(self, count: int, name: str) -> None:
        """Raise UserError if some process would have none of `count` units; `name` is their preset key.

        The processes sum their gradients together, so one without units would leave the others waiting.
        """
        if count < self.size:
            raise UserError(too_few_units(name, count, self.size))

    def all_reduce(self, tensors: list[torch.Tensor]) -> None:
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

    def gather_rows(self, tensor: torch.Tensor, rows: int) -> torch.Tensor:
        """Return all rows, in order, on every process.

        Args:
            tensor: This process's part of the rows, as in `shard_rows`.
            rows: The number of all rows.
        """
        if self.size == 1:
            return tensor
        # A sum over zeros, as shares may differ by a row and all_gather wants equal ones.
        whole = torch.zeros((rows, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)
        whole[self.shard_rows(rows)] = tensor
        dist.all_reduce(whole)
        return whole

    def any_process(self, flag: bool) -> bool:
        """Return True on every process if `flag` is true on any."""
        if self.size == 1:
            return flag
        shared = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(shared)
        return bool(shared.item() > 0)

    def from_first(self, value: int) -> int:
        """Return the first process's value on every process."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.int64, device=self.device)
        dist.broadcast(shared, 0)
        return int(shared.item())

    def wait_for_all(self) -> None:
        """Return once every process has reached this call."""
        if self.size > 1:
            dist.barrier()


def micro_batches(share: slice, size: int) -> Iterator[slice]:
    """Yield a share of the units in parts of at most `size` (0: whole)."""
    size = size or max(1, share.stop - share.start)
    for start in range(share.start, share.stop, size):
        yield slice(start, min(start + size, share.stop))
