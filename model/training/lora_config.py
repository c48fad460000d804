"""Parameters of low-rank adapters, and of trainings that can learn them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from model.errors import UserError
from model.parameter_bounds import KEYED_IF_SET, check_bounds
from model.training.loop_config import LoopParameters

# The linear layers of a block, by Hugging Face's names.
TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LARGEST_RANK = 4096
Quantization = Literal["none", "nf4"]
QUANTIZATIONS: tuple[Quantization, ...] = ("none", "nf4")


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

    quantize: Quantization = field(default="none", metadata={KEYED_IF_SET: True})
    """How the frozen matrices of the blocks are kept: `nf4`, in 4 bits (QLoRA), which takes about a quarter
    of the memory and changes each weight by about a tenth; `none`, as they are. Not with `sharding`."""

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
        if self.quantize not in QUANTIZATIONS:
            raise ValueError(f"quantize is {self.quantize!r}; expected {' or '.join(QUANTIZATIONS)}")
        if self.is_quantized and not self.rank:
            raise ValueError(
                "quantize is nf4, and rank is 0: all weights would learn, which weights in 4 bits cannot; "
                "set rank, or quantize: none"
            )
        # In the order of the model, so that the order in a preset does not change the drawn matrices.
        ordered = tuple(name for name in TARGET_MODULES if name in self.target_modules)
        object.__setattr__(self, "target_modules", ordered)

    @property
    def is_quantized(self) -> bool:
        """Return whether the frozen weights are kept in 4 bits."""
        return self.quantize == "nf4"


@dataclass(frozen=True)
class AdaptableParameters(LoopParameters):
    """The parameters of a training that can learn adapters instead of all weights of its model."""

    lora: LoRAParameters = field(default_factory=LoRAParameters)
    """Low-rank adapters of this training; what is left out is the preset's `lora`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_sharded and self.lora.is_quantized:
            raise ValueError(
                "lora.quantize is nf4, and sharding is full; processes cannot share weights in 4 bits: set "
                "one of them to none"
            )

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        try:
            return super().read({**values, "lora": LoRAParameters(**values.get("lora", {}))})
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error


def check_quantization(
    pretrain: AdaptableParameters,
    sft: AdaptableParameters,
    reward: AdaptableParameters,
    policy: Mapping[str, AdaptableParameters],
) -> None:
    """Check that trainings on weights in 4 bits fit those before and after them.

    Args:
        pretrain: Those of continued pretraining.
        sft: Those of SFT.
        reward: Those of the reward model.
        policy: Those of PPO or DPO, by their section of a preset.

    Raises:
        ValueError: They do not fit; the message names the keys.
    """
    for name, parameters in {"reward": reward, **policy}.items():
        if pretrain.lora.is_quantized and not sft.lora.is_quantized and parameters.lora.is_quantized:
            raise ValueError(
                f"sft.lora.quantize is none between pretrain and {name}, for which it is nf4; the SFT model "
                "would be rounded a second time: set the same for all"
            )
        if reward.lora.is_quantized and name in policy and parameters.is_sharded:
            raise ValueError(
                f"reward.lora.quantize is nf4, and {name}.sharding is full; processes cannot share weights "
                "in 4 bits: set one of them to none"
            )
