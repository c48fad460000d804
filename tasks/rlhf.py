"""Reinforcement learning from human feedback: the assistant aligned with the reward model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from model import ppo as training
from model.launch import Report, launch
from model.ppo import PPOParameters
from tasks.stage import stage


@stage(inputs=("split", "sft", "reward"), resumes=True)
def rlhf(
    parameters: PPOParameters,
    split: Path,
    sft: Path,
    reward: Path,
    out: Path,
    report: Report,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """The aligned assistant in out/model, its curves beside it."""
    return launch(
        training.train,
        {
            "parameters": asdict(parameters),
            "policy": str(sft / "model"),
            "reward": str(reward),
            "prompts": str(split),
            "folder": str(out),
            "seed": seed,
            "device": device,
        },
        processes=processes,
        on_event=report,
        log=out.with_suffix(".log"),
    )
