"""The device of a training process, its memory, and its arithmetic.

Commands that train nothing read presets too, and PyTorch takes more than a second to import, so the functions
that need it import it.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import UserError
from model.training.available_memory import find_memory

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
# Device files of GPU drivers on Linux: NVIDIA's, those of its embedded boards, Windows' for WSL, and AMD's.
_GPU_FILES = ("nvidia*", "nvhost-gpu", "nvgpu", "nvmap", "dxg", "kfd")
# Weights, gradients and two moments of the optimizer in float32: the least memory of a training.
_BYTES_A_WEIGHT = 16


def find_device(wanted: str = "auto") -> str:
    """Return the kind of device to train on: "cuda" or "cpu".

    Raises:
        UserError: This machine does not have the device in `wanted`.
    """
    if wanted not in DEVICES:
        raise UserError(f"device: {wanted!r} is not valid; expected auto, cpu or cuda")
    if wanted == "cpu":
        return "cpu"
    available = _cuda_is_available()
    if wanted == "auto":
        return "cuda" if available else "cpu"
    if not available:
        raise UserError("device: cuda was asked for, but torch finds no CUDA device; set it to auto or cpu")
    return wanted


def _cuda_is_available() -> bool:
    if sys.platform == "linux" and not any(any(Path("/dev").glob(name)) for name in _GPU_FILES):
        return False
    import torch

    return torch.cuda.is_available()


def count_processes(device: str, wanted: int, parts: int) -> int:
    """Return the number of training processes on a device.

    Args:
        device: "cpu" or "cuda".
        wanted: The preset's `num_processes`; 0: one on a GPU, and on a CPU one for each core that this
            process may use.
        parts: The number of parts of a batch, which are shared on a CPU: no more processes find work.
    """
    if device == "cuda":
        return wanted or 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(wanted or cores, parts)


def check_processes(device: str, processes: int) -> None:
    """Raise UserError if there are more training processes than GPUs for them."""
    if device != "cuda":
        return
    import torch

    count = torch.cuda.device_count()
    if processes > count:
        raise UserError(
            f"num_processes is {processes}, and torch sees {count} GPU{'s' if count != 1 else ''} "
            "here; lower "
            "num_processes, or make more GPUs visible (CUDA_VISIBLE_DEVICES)"
        )


def too_few_units(name: str, count: int, processes: int) -> str:
    """Return the error message for `count` units of the key `name` that are fewer than the processes."""
    return (
        f"{name} is {count}, and num_processes is {processes}; each process needs one: raise {name}, "
        "or lower num_processes"
    )


def check_memory(weights: int, device: str, shares: int = 1) -> None:
    """Raise UserError if this machine has less memory than a training of so many weights needs.

    Args:
        weights: The number of weights.
        device: "cpu" or "cuda".
        shares: The number of GPUs that share the weights. Processes on a CPU share its memory anyway.
    """
    memory = find_memory(device)
    there = memory.total + memory.swap
    needed = weights * _BYTES_A_WEIGHT / (shares if device == "cuda" else 1)
    if there and needed > there:
        raise UserError(
            f"architecture: a model of {weights:,} weights needs {needed / 1e9:,.1f} GB or more in training, "
            f"and the {'GPU' if device == 'cuda' else 'machine'} has {there / 1e9:,.1f} GB; lower "
            "architecture.num_layers, architecture.hidden_size or tokenizer.vocab_size"
        )


def describe_device(kind: str) -> str:
    """Return the kind of device for a cache key: results are comparable within one kind."""
    if kind != "cuda":
        return "cpu"
    import torch

    return f"cuda {torch.cuda.get_device_name(0)}"


def describe_processor() -> str:
    """Return the CPU's name with torch's instruction set there; results are bit-identical within one."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names, flags = (
        [line.partition(":")[2].strip() for line in lines if line.startswith(key)]
        for key in ("model name", "flags")
    )
    instructions = _instruction_set(set(flags[0].split())) if flags else ""
    if not instructions:
        import torch

        instructions = torch.backends.cpu.get_cpu_capability()
    return f"{names[0] if names else platform.machine()}, {instructions}"


def _instruction_set(flags: set[str]) -> str:
    """Return what `torch.backends.cpu.get_cpu_capability` returns on an x86 CPU with these flags.

    The rule is that of `compute_cpu_capability` in ATen's DispatchStub.cpp. Empty: the rule does not say.
    """
    if os.environ.get("ATEN_CPU_CAPABILITY"):
        return ""
    if {"avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"} <= flags:
        return "AVX512"
    return "AVX2" if {"avx2", "fma"} <= flags else ""


def compute_dtype(device: str) -> torch.dtype:
    """Return bfloat16 if the hardware multiplies it natively, else float32.

    On a CPU without avx512_bf16 or amx_bf16, bfloat16 products are emulated and slower than float32.
    """
    import torch

    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def compute_repeatably() -> None:
    """Make this process's CUDA operations give the same bits each time.

    An operation that cannot raises RuntimeError. Call it before the CUDA libraries are first used.
    """
    import torch

    # cuBLAS: with several workspaces a sum depends on what else is computed at the time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Inductor: kernels chosen by measured time may sum in another order the next time.
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    torch.use_deterministic_algorithms(True)
    # All memory is written before it is read here; filling it first would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
