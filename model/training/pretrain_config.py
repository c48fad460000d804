"""Parameters of pretraining."""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.parameter_bounds import MOST_TOKENS, check_bounds
from model.training.loop_config import LoopParameters


@dataclass(frozen=True)
class PretrainParameters(LoopParameters):
    """The parameters of pretraining; `batch_size` counts windows of the architecture's context."""

    max_eval_tokens: int = 0
    """Largest number of held-out tokens in one evaluation; 0: all."""

    prompts: tuple[str, ...] = ("The ", "In the beginning", "This film")
    """Prompts that the model continues at the first, the middle and the last step, for the report."""

    sample_tokens: int = 40
    """Length of these continuations in tokens, 1 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, 0, math.inf, "max_eval_tokens")
        check_bounds(self, 1, MOST_TOKENS, "sample_tokens")
