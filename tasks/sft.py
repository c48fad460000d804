"""Supervised fine-tuning: the base model learns to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.events import Report
from model.training import sft as training
from model.training.sft import SFTParameters
from tasks.engine.stage import stage
from tasks.engine.training_launcher import Training


@stage(inputs=("split", "pretrain"), reads={"split": ("*/pairs",)}, resumes=True)
def sft(
    parameters: SFTParameters,
    split: Path,
    pretrain: Path,
    out: Path,
    report: Report,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """The assistant in out/model, its curves beside it."""
    start = Training(out, report, seed, device, processes)
    return start(training.train, parameters, base=pretrain / "model", pairs=split)
