"""Parameters of low-rank adapters, and of trainings that can learn them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from model.errors import UserError
from model.parameter_bounds import check_bounds
from model.training.loop_config import LoopParameters

# The linear layers of a block, by Hugging Face's names.
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LARGEST_RANK = 4096


@dataclass(frozen=True)
class LoRAParameters:
    """The parameters of low-rank adapters: small matrices that are learned beside the model's own weights.

    A training with adapters needs the memory of the model and of the small matrices only. The result is a
    whole model, with the adapter added to its weights. Each training also keeps the adapter by itself, in the
    layout of the library PEFT (Hu et al., LoRA, 2021, arXiv:2106.09685).
    """

    rank: int = 0
    """Rank of the matrices; 0: all weights are trained, without adapters."""

    alpha: float = 0.0
    """Factor of the adapter's output times its rank; 0: twice the rank."""

    target_modules: tuple[str, ...] = TARGET_MODULES
    """Linear layers of each block that get an adapter."""

    def __post_init__(self) -> None:
        check_bounds(self, 0, LARGEST_RANK, "rank")
        # Written so that a NaN fails too.
        if not 0 <= self.alpha < float("inf"):
            raise ValueError(f"alpha is {self.alpha}; it must be 0 or more and finite")
        if not self.alpha and self.rank:
            object.__setattr__(self, "alpha", 2.0 * self.rank)
        for name in self.target_modules:
            if name not in TARGET_MODULES:
                raise ValueError(f"target_modules has {name!r}; expected some of {', '.join(TARGET_MODULES)}")
        if not self.target_modules:
            raise ValueError("target_modules is empty; name at least one layer, or leave the key out")
        # In the order of the model, so that the order in a preset does not change the drawn matrices.
        ordered = tuple(name for name in TARGET_MODULES if name in self.target_modules)
        object.__setattr__(self, "target_modules", ordered)


@dataclass(frozen=True)
class AdaptableParameters(LoopParameters):
    """The parameters of a training that can learn adapters instead of all weights of its model."""

    lora: LoRAParameters = field(default_factory=LoRAParameters)
    """Low-rank adapters of this training; what is left out is the preset's `lora`."""

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        try:
            return super().read({**values, "lora": LoRAParameters(**values.get("lora", {}))})
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error
