"""The memory of a machine is read from the system, within the limits of its control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.training.available_memory import DeviceMemory, find_memory, host_memory, read_free_memory

MEMINFO = "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 6000 kB\nSwapTotal: 500 kB\n"
KB = 1024


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def system(tmp_path: Path) -> tuple[Path, Path]:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "meminfo", MEMINFO)
    return proc, groups


def test_find_memory_of_this_machine_is_known() -> None:
    found = find_memory("cpu")
    assert 0 < found.free <= found.total


def test_host_memory_without_groups_is_the_machines(system: tuple[Path, Path]) -> None:
    assert host_memory(*system) == DeviceMemory(8000 * KB, 6000 * KB, 500 * KB)


@pytest.mark.parametrize(
    ("place", "folders", "total", "free"),
    [
        # The group itself, the one above it, and a place that is outside of a container.
        ("/a/b", {"a/b": (4000, 1000, 200)}, 4000, 3200),
        ("/a/b", {"a": (5000, 4500, 0), "a/b": (6000, 0, 0)}, 5000, 500),
        ("/outside/here", {"": (3000, 3500, 0)}, 3000, 0),
    ],
)
def test_host_memory_heeds_the_limits_of_control_groups(
    system: tuple[Path, Path],
    place: str,
    folders: dict[str, tuple[int, int, int]],
    total: int,
    free: int,
) -> None:
    proc, groups = system
    write(proc / "self" / "cgroup", f"0::{place}\n")
    for name, (limit, used, cached) in folders.items():
        write(groups / name / "memory.max", f"{limit * KB}\n")
        write(groups / name / "memory.current", f"{used * KB}\n")
        write(groups / name / "memory.stat", f"anon 7\ninactive_file {cached * KB}\n")
    assert host_memory(proc, groups) == DeviceMemory(total * KB, free * KB, 0)


def test_host_memory_heeds_the_first_version_of_control_groups(system: tuple[Path, Path]) -> None:
    proc, groups = system
    write(proc / "self" / "cgroup", "9:cpu,cpuacct:/\n4:memory:/job\n0::/\n")
    write(groups / "memory" / "memory.limit_in_bytes", f"{1 << 62}\n")
    write(groups / "memory" / "job" / "memory.limit_in_bytes", f"{2000 * KB}\n")
    write(groups / "memory" / "job" / "memory.usage_in_bytes", f"{900 * KB}\n")
    write(groups / "memory" / "job" / "memory.stat", f"total_inactive_file {100 * KB}\n")
    assert host_memory(proc, groups) == DeviceMemory(2000 * KB, 1200 * KB, 0)


def test_host_memory_group_without_limit_is_the_machines(system: tuple[Path, Path]) -> None:
    proc, groups = system
    write(proc / "self" / "cgroup", "0::/a\n")
    write(groups / "a" / "memory.max", "max\n")
    assert host_memory(proc, groups) == DeviceMemory(8000 * KB, 6000 * KB, 500 * KB)


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("memory.free [MiB]\n81152 MiB\n", 81152 << 20),
        ("memory.free [MiB]\n[N/A]\n", 0),
        ("", 0),
        ("No devices were found", 0),
    ],
)
def test_read_free_memory_reads_the_drivers_answer(said: str, size: int) -> None:
    assert read_free_memory(said) == size
