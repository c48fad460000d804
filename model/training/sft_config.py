"""Parameters of supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.training.lora_config import AdaptableParameters


def named_pairs(sources: Sequence[str]) -> str:
    """Return the words for the training pairs of some sources; of all if none is named."""
    return "the training pairs" + (f" of {', '.join(sources)} (sft.sources)" if sources else "")


@dataclass(frozen=True)
class SFTParameters(AdaptableParameters):
    """The parameters of fine-tuning; `batch_size` counts rows of the context, each packed with
    several pairs."""

    sources: tuple[str, ...] = ()
    """Sources whose pairs are learned from; empty: all."""

    from_random: bool = False
    """Whether to start from random weights instead of the base model, to measure what pretraining gives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.from_random and self.lora.rank:
            raise ValueError(
                f"lora.rank is {self.lora.rank}; it must be 0 with from_random, as random weights need "
                "a training of all of them"
            )
