"""The devices that workers get: GPUs, and slices of GPUs that MIG divides."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.servers.credentials import Credentials
from flows.servers.environment import Settings
from flows.servers.workers import build_workers, read_device_list, visible_devices

WHOLE = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-2)\n"
DIVIDED = (
    "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa-1)\n"
    "  MIG 3g.40gb     Device  0: (UUID: MIG-c1)\n"
    "  MIG 3g.40gb     Device  1: (UUID: MIG-c2)\n"
)
MIXED = DIVIDED + "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-2)\n"
# Drivers before 470 name a slice by its GPU and its numbers.
OLDER = "GPU 0: A100 (UUID: GPU-aaaa-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-GPU-aaaa-1/7/0)\n"


@pytest.mark.parametrize(
    ("listed", "devices"),
    [
        (WHOLE, ["0", "1"]), (DIVIDED, ["MIG-c1", "MIG-c2"]), (MIXED, ["MIG-c1", "MIG-c2", "GPU-bbbb-2"]),
        (OLDER, ["MIG-GPU-aaaa-1/7/0"]), ("", []), ("No devices found.\n", []),
        ("GPU 0: A card without an id\n", ["0"]),
    ],
)  # fmt: skip
def test_read_device_list_has_each_device_once(listed: str, devices: list[str]) -> None:
    assert read_device_list(listed) == devices


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that prints MIXED in place of nvidia-smi."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{MIXED}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_build_workers_gives_each_slice_a_worker(
    nvidia_smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visible_devices() == ["MIG-c1", "MIG-c2", "GPU-bbbb-2"]
    settings = Settings(tmp_path, "", "", Credentials("someone", "word"))
    workers = build_workers(settings, "http://localhost:1/api", "", ("cpu", "gpu"))
    seen = [worker.environment.get("CUDA_VISIBLE_DEVICES") for worker in workers]
    assert seen == [None, "MIG-c1", "MIG-c2", "GPU-bbbb-2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-c1,MIG-c2")
    (only,) = build_workers(settings, "http://localhost:1/api", "", ("gpu",), gpu_workers=1)
    # CUDA gives a process one slice, so the worker says that the other one is idle.
    assert only.environment["CUDA_VISIBLE_DEVICES"] == "MIG-c1" and "the first of 2" in only.shows
