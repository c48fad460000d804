"""Parameters of the alignment: its method, and the parameters of each method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from model.training.dpo_config import DPOConfig
from model.training.ppo_config import PPOConfig


@dataclass(frozen=True)
class RLHFConfig(PPOConfig):
    """The parameters of the alignment by PPO or DPO. All keys but `method` and `dpo` are PPO's."""

    method: Literal["ppo", "dpo"] = "ppo"
    """`ppo` learns from the reward model's scores of the model's own answers. `dpo` learns from the labels
    themselves: from comparisons, and from rated answers to the same prompt. Its stage `reference` measures
    the SFT model on them, which other values of `dpo.beta` reuse."""

    dpo: DPOConfig = field(default_factory=DPOConfig)
    """Parameters of DPO, for `method: dpo`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in ("ppo", "dpo"):
            raise ValueError(f"method is {self.method!r}; it must be ppo or dpo")

    @property
    def ppo(self) -> PPOConfig:
        """Return the parameters of PPO alone."""
        return PPOConfig(**{each.name: getattr(self, each.name) for each in fields(PPOConfig)})
