"""Parameters of the optimizers and of the learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from model.nn.model_config import ModelConfig
from model.parameter_bounds import KEYED_IF_SET

# AdamW's rate for a model that is trained from random weights here.
_OWN_RATE = 3e-3
# AdamW's rate for an open model, times its width: 2e-5 for a width of 4096.
_OPEN_RATE = 0.08
# The rate of a low-rank adapter over that of all weights (Schulman et al., LoRA without regret, 2025).
ADAPTER_RATE = 10


@dataclass(frozen=True)
class OptimizerParameters:
    """Parameters of the optimizers and of the learning-rate schedule: warm-up, constant, linear decay."""

    learning_rate: float = 0.0
    """Learning rate of AdamW; 0: 0.003, or 0.08 / `hidden_size` for an open model (`base_model`), ten times
    that for its adapters (`lora`), and in DPO a tenth."""

    muon_learning_rate: float = 0.0
    """Learning rate of Muon for the weight matrices of the blocks; 0: AdamW for all weights. Adapters
    (`lora`) always learn by AdamW."""

    weight_decay: float = 0.1
    """Decoupled weight decay, 0 or more."""

    beta1: float = 0.9
    """Decay rate of AdamW's first moment, from 0 to below 1."""

    beta2: float = 0.95
    """Decay rate of AdamW's second moment, from 0 to below 1."""

    adamw_bits: int = field(default=32, metadata={KEYED_IF_SET: True})
    """Bits of each of AdamW's two moments of a weight in a matrix: 32, or 8, which takes 6 bytes less memory
    a weight that learns."""

    max_grad_norm: float = 1.0
    """Largest norm of the gradient, above 0. A larger gradient is scaled down to it."""

    warmup_ratio: float = 0.02
    """Share of the steps, from 0 to 1, in which the learning rate rises from 0."""

    decay_ratio: float = 0.4
    """Share of the steps, from 0 to 1, in which the learning rate falls at the end."""

    final_lr_ratio: float = 0.0
    """Learning rate after the last step, as a share of the highest one, from 0 to 1."""

    def __post_init__(self) -> None:
        # Written so that a NaN fails too.
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm is {self.max_grad_norm}; it must be above 0")
        if self.adamw_bits not in (8, 32):
            raise ValueError(f"adamw_bits is {self.adamw_bits}; it must be 32 or 8")
        for name in ("learning_rate", "muon_learning_rate", "weight_decay"):
            if not getattr(self, name) >= 0:
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

    def for_model(self, architecture: ModelConfig, adapter: bool = False) -> Self:
        """Return these parameters with the learning rate that suits a model, if it is left open.

        Args:
            architecture: The model's.
            adapter: Whether a low-rank adapter is trained.

        The rate of an open model falls with its width, as a step of Adam changes a wider layer's output by
        more.

        Yang et al., Tensor programs V, 2022, arXiv:2203.03466.
        """
        if self.learning_rate:
            return self
        rate = _OWN_RATE
        if architecture.open_model:
            rate = _OPEN_RATE / architecture.hidden_size * (ADAPTER_RATE if adapter else 1)
        return replace(self, learning_rate=float(f"{rate:.2g}"))

    def lr_scale(self, step: int, steps: int) -> float:
        """Return the factor on the learning rates at a step: linear warm-up, hold, linear decay.

        Hägele et al., Scaling laws beyond fixed training durations, 2024, arXiv:2405.18392.
        """
        done, warmup, decay = step + 1, self.warmup_ratio * steps, self.decay_ratio * steps
        if done < warmup:
            return done / warmup
        left = (steps - step) / max(decay, 1.0)
        return self.final_lr_ratio + (1 - self.final_lr_ratio) * min(1.0, left)
