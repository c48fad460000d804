"""Reinforcement learning from human feedback: the assistant aligned with the reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.events import EventCallback
from model.training import ppo as training
from model.training.ppo_config import PPOConfig
from tasks.engine.stage import stage
from tasks.engine.training_launcher import TrainingLauncher


@stage(inputs=("split", "sft", "reward"), reads={"split": ("*/pairs",)}, resumes=True)
def rlhf(
    parameters: PPOConfig,
    split: Path,
    sft: Path,
    reward: Path,
    out: Path,
    report: EventCallback,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """The aligned assistant in out/model, its curves beside it."""
    start = TrainingLauncher(out, report, seed, device, processes)
    return start(training.train_ppo, parameters, policy=sft / "model", reward=reward, prompts=split)
