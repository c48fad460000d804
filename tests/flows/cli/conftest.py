"""Fixtures of the tests of `chatmill init`."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.nn.model_config import ModelConfig
from model.training import throughput
from model.training.lora_config import LoRAParameters
from tests.example_project import write_project


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a project with a folder of all that a run needs."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    return tmp_path


@pytest.fixture
def steady_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report the same pace on every machine, for tests that are not about measuring it."""

    def measure(
        shape: ModelConfig, batch: int, device: str, seconds: float, lora: LoRAParameters | None = None
    ) -> throughput.Pace:
        return throughput.Pace(2e10 / (6 * shape.num_parameters), 1)

    monkeypatch.setattr(throughput, "measure_pace", measure)
