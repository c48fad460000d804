"""Parameters of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from model.training.loop_config import LoopParameters


@dataclass(frozen=True)
class SFTParameters(LoopParameters):
    """The parameters of fine-tuning; `batch_size` counts rows of the context, each packed with
    several pairs."""

    from_random: bool = False
    """Whether to start from random weights instead of the base model, to measure what pretraining gives."""
