"""Control of the divergence of a policy from the SFT model: bounds, undone steps, the best step.

A step is checked after its update, on the answers of that step. TRPO measures its constraint in the same way,
on states that the policy before the update visited. A step that fails is repeated at half the rate, which is
TRPO's line search (Schulman et al., 2015, arXiv:1502.05477). Divergences are estimated token by token,
without bias and never below 0 (Schulman, Approximating KL divergence, 2020, joschu.net/blog/kl-approx.html).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

RATE_CUT = 0.5  # of the learning rate, after a step that was undone
LARGE_INCREASE = 10.0  # a percentage above it is hard to read


def describe_increase(share: float) -> str:
    """Return a bound on a relative increase in words, as in "15% above" or "40 times"."""
    return f"{share:.0%} above" if share < LARGE_INCREASE else f"{share + 1:.3g} times"


def estimate_kl(logprobs: Tensor, other: Tensor, weights: Tensor, mask: Tensor) -> float:
    """Return the mean KL(p‖q) of an answer in nats, from tokens that a third policy sampled.

    Args:
        logprobs: log p of the tokens, [B, N].
        other: log q of the same tokens, [B, N].
        weights: p divided by the sampling policy, [B, N]; ones if p itself sampled.
        mask: 1 on real tokens, [B, N].
    """
    gap = (logprobs - other).double()
    each = weights.double() * (torch.exp(-gap) - 1 + gap)
    return (each * mask).sum(1).mean().item()


@dataclass
class StepLimit:
    """The decision to undo a step, which also lowers the learning rate.

    Attributes:
        max_kl: Bound on the divergence from the start, in nats an answer.
        max_step_kl: Bound on the divergence between the policies before and after a step.
        rate: Factor on the learning rate; halved by every undone step.
        undone: The number of undone steps.
    """

    max_kl: float
    max_step_kl: float
    rate: float = 1.0
    undone: int = 0

    def is_too_far(self, before: float, after: float, moved: float) -> bool:
        """Return whether to undo a step: its own divergence, or the whole one, exceeds its bound.

        A step that leads back towards the start is kept even above `max_kl`.

        Args:
            before: The divergence from the start before the step.
            after: The divergence from the start after the step; not finite: too far.
            moved: The divergence between the two policies; not finite: too far.
        """
        # Comparisons with NaN are false, so a broken step would pass the bounds below.
        if not (math.isfinite(after) and math.isfinite(moved)):
            return True
        return moved > self.max_step_kl or (after > self.max_kl and after > before)

    def slow_down(self) -> None:
        """Count an undone step and lower the rate."""
        self.undone += 1
        self.rate *= RATE_CUT


@dataclass
class BestStep:
    """The step with the highest held-out score that is within both bounds; step 0 is the start.

    Attributes:
        max_kl: Bound on the held-out divergence.
        max_loss_increase: Bound on the relative increase of the loss on right answers over step 0.
        step: The best step until now; -1 before the first evaluation.
        score: Its held-out score.
        first: The score of step 0.
        first_loss: The loss of step 0 on held-out right answers; NaN if there are none.
        passed_over: Steps with a higher score than all before that lost too much on right answers.
        weights: Its parameters by name, on the CPU.
        metrics: Its held-out metrics.
    """

    max_kl: float
    max_loss_increase: float = math.inf
    step: int = -1
    score: float = -math.inf
    first: float = math.nan
    first_loss: float = math.nan
    passed_over: int = 0
    weights: dict[str, Tensor] | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def keep_if_best(
        self,
        step: int,
        score: float,
        kl: float,
        weights: dict[str, Tensor],
        loss: float = math.nan,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Keep the step if it is the best until now; return whether it is.

        Args:
            step: The number of the step; step 0 is the SFT model.
            score: The mean held-out score.
            kl: The divergence from the SFT model in nats per answer.
            weights: The weights after the step, by name.
            loss: The loss on held-out right answers; NaN, if there are none, bounds nothing.
            metrics: The step's held-out metrics.
        """
        if step == 0:
            self.first, self.first_loss = score, loss
        if not (score > self.score and kl <= self.max_kl):
            return False
        # A reward can rise while right answers become unlikely; such a step is never the result.
        if loss > self.first_loss * (1 + self.max_loss_increase):
            self.passed_over += 1
            return False
        self.step, self.score, self.metrics = step, score, dict(metrics or {})
        # A copy on the CPU takes no memory of the device.
        self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
        return True

    def chosen_metrics(self) -> dict[str, float]:
        """Return the best step's held-out metrics, with the relative increase of its loss on answers."""
        if self.first_loss > 0:
            increase = self.metrics["valid_completion_loss"] / self.first_loss - 1
            return {**self.metrics, "valid_loss_increase": increase}
        return dict(self.metrics)

    def describe_choice(self, prompts: int, kl: float, answers: int) -> list[str]:
        """Return sentences that say which step is the best, and why others are not.

        Args:
            prompts: The number of held-out prompts.
            kl: The divergence of the best step from the SFT model, in nats per answer.
            answers: The number of held-out right answers.
        """
        said = []
        if self.passed_over:
            said.append(
                f"{self.passed_over} steps with a higher score were skipped, as their loss on {answers} "
                f"held-out right answers is more than {describe_increase(self.max_loss_increase)} SFT's "
                "(rlhf.max_loss_increase)"
            )
        if self.step:
            return [
                *said,
                f"the best is step {self.step}: its score is {self.score - self.first:.3g} above SFT's on "
                f"{prompts} held-out prompts, at {kl:.3g} nats from SFT (at most {self.max_kl:.3g})",
            ]
        bound = (
            f" and with a loss on right answers of at most {describe_increase(self.max_loss_increase)} SFT's"
            if math.isfinite(self.max_loss_increase)
            else ""
        )
        return [
            *said,
            f"no step has a higher score than SFT on {prompts} held-out prompts at {self.max_kl:.3g} "
            f"nats or less{bound}: the result is the SFT model's own weights",
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the values that a checkpoint stores."""
        names = ("step", "score", "first", "first_loss", "passed_over", "weights", "metrics")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the values of `state_dict`."""
        self.step, self.score, self.first = int(state["step"]), float(state["score"]), float(state["first"])
        self.first_loss, self.passed_over = float(state["first_loss"]), int(state["passed_over"])
        self.weights, self.metrics = state["weights"], dict(state["metrics"])
