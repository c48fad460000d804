"""The memory of the device that trains: how much it has, and how much is free now."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 10.0  # for a query of the GPU's driver


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of a GPU, or of a machine.

    Attributes:
        total: What the device has, or the limit of this process's control group; 0: unknown.
        free: What no program uses now; 0: unknown.
        swap: What the machine can move to its disk besides.
    """

    total: int
    free: int
    swap: int = 0


def find_memory(device: str, processes: int = 1) -> DeviceMemory:
    """Return the memory of a device: for several GPUs, of the one with the least free memory.

    Args:
        device: "cpu" or "cuda".
        processes: The number of training processes; each has a GPU of its own.
    """
    if device == "cuda":
        return min((_gpu_memory(number) for number in range(processes)), key=lambda one: one.free)
    return host_memory()


def host_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> DeviceMemory:
    """Return the memory of this machine, or of this process's control group if that is less.

    Args:
        proc: The system's folder of processes.
        groups: The system's folder of control groups.
    """
    sizes = _read_sizes(proc / "meminfo")
    if "MemTotal" not in sizes:
        try:
            return DeviceMemory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 0)
        except (OSError, ValueError):
            return DeviceMemory(0, 0)
    total, free, swap = sizes["MemTotal"], sizes.get("MemAvailable", 0), sizes.get("SwapTotal", 0)
    for limit, used in _group_limits(proc, groups):
        if limit < total:
            # A control group has its own rule for swap; without one it may use none.
            total, swap = limit, 0
        free = min(free, max(0, limit - used))
    return DeviceMemory(total, free, swap)


def _read_sizes(path: Path) -> dict[str, int]:
    """Return the numbers of a file with lines like `MemTotal: 24 kB` or `inactive_file 24`, in bytes."""
    sizes = {}
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        parts = line.replace(":", " ").split()
        if len(parts) >= 2 and parts[1].isdigit():
            sizes[parts[0]] = int(parts[1]) * (1024 if parts[2:] == ["kB"] else 1)
    return sizes


def _group_limits(proc: Path, groups: Path) -> list[tuple[int, int]]:
    """Return limit and use of each control group that this process is in, in both versions of the system."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, names, place = [*line.split(":", 2), "", ""][:3]
        if not names:
            root, limit, used, cached = groups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in names.split(","):
            root, limit, used, cached = (
                groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
            )  # fmt: skip
        else:
            continue
        folder = root / place.strip("/")
        # The groups above have limits too. In a container the place may be one outside of it.
        for each in (folder, *folder.parents):
            if not each.is_relative_to(root):
                break
            bound, use = _read_number(each / limit), _read_number(each / used)
            if bound is not None:
                # Pages of files can be dropped at once.
                dropped = _read_sizes(each / "memory.stat").get(cached, 0)
                found.append((bound, max(0, (use or 0) - dropped)))
    return found


def _read_number(path: Path) -> int | None:
    """Return the number in a file; None if there is none, as in a group without a limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _gpu_memory(number: int) -> DeviceMemory:
    import torch

    properties = torch.cuda.get_device_properties(number)
    total = int(properties.total_memory)
    # torch's own question would start a context on the GPU, with hundreds of megabytes, in this process.
    command = ["nvidia-smi", "-i", f"GPU-{properties.uuid}", "--query-gpu=memory.free", "--format=csv"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return DeviceMemory(total, 0)
    return DeviceMemory(total, min(total, read_free_memory(said)))


def read_free_memory(text: str) -> int:
    """Return the bytes in the answer of nvidia-smi, such as `memory.free [MiB]` and `81152 MiB`; 0: none."""
    last = [*text.split("\n"), ""][1].split()
    return int(last[0]) << 20 if len(last) == 2 and last[0].isdigit() and last[1] == "MiB" else 0
