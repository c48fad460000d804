"""What one kind of training defines for the training loop: its steps, its batches and its evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from model.training.learner import Learner


class TrainingTask(ABC):
    """The part of the loop that differs between kinds of training."""

    learner: Learner
    tokens_per_step: float = 0.0
    # Of a task whose rows fill the model's context, where the pace says how well a GPU is used; 0: unknown.
    flops_per_token: int = 0
    # The metric that `early_stopping_patience` watches; lower is better.
    best_by: str = ""

    @abstractmethod
    def optimizer_step(self, step: int) -> dict[str, float]:
        """Take step number `step` (from 0) and return its metrics.

        Raises:
            FloatingPointError: The loss or the gradient is not finite.
            StepAbandoned: The training was asked to stop. Nothing has changed then, and the step is taken
                again when the training is resumed.
        """

    @abstractmethod
    def describe_batch(self, step: int) -> str:
        """Return which rows step number `step` learns from, in a few words."""

    def evaluate_model(self) -> dict[str, float]:
        """Return metrics on all held-out rows. Called on every process."""
        return {}

    def on_checkpoint_sample(self, step: int) -> None:  # noqa: B027
        """Examine the model after `step` steps; called before the first, in the middle, and at the end."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on besides the learner, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore the values of `state_dict`."""


def describe_steps(steps: int, batch: int, what: str) -> str:
    """Return the steps of a training and their batch in words, as `10 steps of 1 prompt`."""
    counts = ((steps, "step"), (batch, what))
    return " of ".join(f"{count:,} {noun if count == 1 else noun + 's'}" for count, noun in counts)
