"""Parameters of pretraining."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from model.parameter_bounds import MOST_STEPS, MOST_TOKENS, check_bounds
from model.training.lora_config import AdaptableParameters


@dataclass(frozen=True)
class PretrainParameters(AdaptableParameters):
    """The parameters of pretraining; `batch_size` counts windows of the architecture's context.

    `lora` is for the training of an open model, `continue_steps`: random weights all learn.
    """

    max_eval_tokens: int = 0
    """Largest number of held-out tokens in one evaluation; 0: all."""

    prompts: tuple[str, ...] = ("The ", "In the beginning", "This film")
    """Prompts that the model continues at the first, the middle and the last step, for the report."""

    sample_tokens: int = 40
    """Length of these continuations in tokens, 1 or more."""

    continue_steps: int = 0
    """Number of steps that train an open model (`base_model`) on the text before SFT, in place of `steps`;
    0: it is used as it is. See [base models](base-models.md#training-an-open-model-on-your-text)."""

    replay_sources: tuple[str, ...] = ()
    """Names of sources with general text, which such a training repeats so that the model does not forget.
    Their text is learned from in these shares only."""

    replay_share: float = 0.1
    """Share of each batch that comes from `replay_sources`, above 0 and below 1; at least one window."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, 0, math.inf, "max_eval_tokens")
        check_bounds(self, 1, MOST_TOKENS, "sample_tokens")
        check_bounds(self, 0, MOST_STEPS, "continue_steps")
        if not 0 < self.replay_share < 1:
            raise ValueError(f"replay_share is {self.replay_share}; it must be above 0 and below 1")
        if self.replay_sources and not self.continue_steps:
            raise ValueError("replay_sources is set without continue_steps, so it would not be used")
        if self.lora.rank and not self.continue_steps:
            raise ValueError(
                f"lora.rank is {self.lora.rank} without continue_steps; it must be 0, as random weights need "
                "a training of all of them"
            )
        if self.replay_sources and self.batch_size < 2:
            raise ValueError("batch_size is 1; with replay_sources, a batch has at least 2 windows")

    @property
    def replayed_windows(self) -> int:
        """Return the number of windows of a batch that come from the sources of general text."""
        if not self.replay_sources:
            return 0
        return min(self.batch_size - 1, max(1, round(self.replay_share * self.batch_size)))

    def continued(self) -> PretrainParameters:
        """Return the parameters of the training of an open model: its steps are those of the loop."""
        return replace(self, steps=self.continue_steps)
