"""Reinforcement learning from human feedback: the assistant aligned with the reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.events import Report
from model.training import ppo as training
from model.training.ppo_config import PPOParameters
from tasks.engine.stage import stage
from tasks.engine.training_launcher import Training


@stage(inputs=("split", "sft", "reward"), reads={"split": ("*/pairs",)}, resumes=True)
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
    start = Training(out, report, seed, device, processes)
    return start(training.train, parameters, policy=sft / "model", reward=reward, prompts=split)
