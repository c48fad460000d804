"""Parameters of the reward model's training."""

from __future__ import annotations

from dataclasses import dataclass

from model.parameter_bounds import MOST_SAMPLES, check_bounds
from model.training.lora_config import AdaptableParameters


@dataclass(frozen=True)
class RewardParameters(AdaptableParameters):
    """The parameters of the reward model; `batch_size` counts groups of `group_size` texts."""

    group_size: int = 8
    """Number of texts of one aspect and source that are compared with each other: an even number, 2 or
    more."""

    margin: float = 1.0
    """Smallest difference between the mean scores of two texts that form a pair, above 0."""

    num_reference_samples: int = 256
    """Number of the SFT model's answers, 2 or more, that normalise scores to mean 0 and deviation 1."""

    reference_tokens: int = 64
    """Largest length of these answers in tokens, 1 or more."""

    headline_sources: tuple[str, ...] = ()
    """Sources whose pairs `pair_accuracy` is the share of; empty: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group_size < 2 or self.group_size % 2:
            raise ValueError(
                f"group_size is {self.group_size}; it must be an even number of texts, 2 or more"
            )
        if self.margin <= 0:
            raise ValueError(f"margin is {self.margin}; it must be above 0")
        if self.num_reference_samples < 2 or self.reference_tokens < 1:
            raise ValueError("num_reference_samples must be at least 2, and reference_tokens at least 1")
        check_bounds(self, 2, MOST_SAMPLES, "num_reference_samples", "group_size")
