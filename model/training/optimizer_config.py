"""Parameters of the optimizers and of the learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class OptimizerParameters:
    """Parameters of the optimizers and of the learning-rate schedule: warm-up, constant, linear decay."""

    learning_rate: float = 3e-3
    """Learning rate of AdamW, above 0."""

    muon_learning_rate: float = 0.0
    """Learning rate of Muon for the weight matrices of the blocks; 0: AdamW for all weights."""

    weight_decay: float = 0.1
    """Decoupled weight decay, 0 or more."""

    beta1: float = 0.9
    """Decay rate of AdamW's first moment, from 0 to below 1."""

    beta2: float = 0.95
    """Decay rate of AdamW's second moment, from 0 to below 1."""

    max_grad_norm: float = 1.0
    """Largest norm of the gradient, above 0. A larger gradient is scaled down to it."""

    warmup_ratio: float = 0.02
    """Share of the steps, from 0 to 1, in which the learning rate rises from 0."""

    decay_ratio: float = 0.4
    """Share of the steps, from 0 to 1, in which the learning rate falls at the end."""

    final_lr_ratio: float = 0.0
    """Learning rate after the last step, as a share of the highest one, from 0 to 1."""

    # Whether a learning rate of 0 means a derived one.
    derives_rate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "max_grad_norm"):
            value = getattr(self, name)
            if value < 0 or (value == 0 and not (self.derives_rate and name == "learning_rate")):
                raise ValueError(f"{name} is {value}; it must be above 0")
        for name in ("muon_learning_rate", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("warmup_ratio", "decay_ratio", "final_lr_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share from 0 to 1")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, from 0 to below 1")
        if self.warmup_ratio + self.decay_ratio > 1:
            raise ValueError(
                "warmup_ratio and decay_ratio are shares of the steps; together they must not exceed 1"
            )

    def lr_scale(self, step: int, steps: int) -> float:
        """Return the factor on the learning rates at a step: linear warm-up, hold, linear decay.

        Hägele et al., Scaling laws beyond fixed training durations, 2024, arXiv:2405.18392.
        """
        done, warmup, decay = step + 1, self.warmup_ratio * steps, self.decay_ratio * steps
        if done < warmup:
            return done / warmup
        left = (steps - step) / max(decay, 1.0)
        return self.final_lr_ratio + (1 - self.final_lr_ratio) * min(1.0, left)
