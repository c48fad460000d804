"""Supervised fine-tuning: the base model learns to answer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from model import sft as training
from model.launch import Report, launch
from model.sft import SFTParameters
from tasks.stage import stage


@stage(inputs=("split", "pretrain"), resumes=True)
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
    return launch(
        training.train,
        {
            "parameters": asdict(parameters),
            "base": str(pretrain / "model"),
            "pairs": str(split),
            "folder": str(out),
            "seed": seed,
            "device": device,
        },
        processes=processes,
        on_event=report,
        log=out.with_suffix(".log"),
    )
