"""Parameters of PPO, and the derivation of open values from the size of the run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from model.errors import UserError
from model.parameter_bounds import MOST_EPOCHS, MOST_SAMPLES, check_bounds
from model.training.kl_controller import (
    EVALUATIONS,
    derive_horizon,
    derive_learning_rate,
    derive_max_kl,
    derive_max_step_kl,
    derive_steps,
)
from model.training.optimizer import OptimizerParameters
from model.training.trainer import LoopParameters


@dataclass(frozen=True)
class PolicyOptimizerParameters(OptimizerParameters):
    """The policy's optimizer parameters; a `learning_rate` of 0 is derived from the model and the run."""

    learning_rate: float = 0.0
    derives_rate: ClassVar[bool] = True


@dataclass(frozen=True)
class PPOConfig(LoopParameters):
    """The parameters of RLHF; `batch` counts the prompts answered a step.

    Each step's answers are learned from in `epochs` passes of `minibatches` optimizer steps. `clip` keeps the
    ratio of a token's new probability to its old one within 1 ± `clip` (`policy_loss` in model/nn/losses.py);
    `value_clip` does the same for the change of a value (`value_loss`). The reward is
    the reward model's score at the end token, less three prices. `missing_end` is the price of an answer
    without end token. `length_weight` multiplies the share by which an answer is shorter than the assistant's
    mean, as short answers are an easy way out. `kl_coefficient` multiplies the divergence token by token; it
    adapts towards `kl_target` nats a completion over `kl_horizon` answers (`kl_target` 0: constant).
    `sources` names the pairs whose prompts are answered (empty: all). An evaluation answers `held_out`
    prompts of the validation split.

    A step that moves the policy by more than `max_step_kl` nats an answer, or beyond `max_kl` nats from the
    assistant, is undone and repeated at half the learning rate. The result is the evaluated step with the
    highest held-out score within two bounds. One is `max_kl`; the other is `max_loss_increase`, the largest
    relative increase of the loss on held-out right answers. The assistant itself is step 0. Values of 0 for
    `steps`, `evaluate_every`, `kl_horizon`, `max_kl`, `max_step_kl` and `optimizer.learning_rate` are derived
    from the size of the run.
    """

    steps: int = 0
    optimizer: PolicyOptimizerParameters = field(default_factory=PolicyOptimizerParameters)
    least_steps: ClassVar[int] = 0

    sources: tuple[str, ...] = ()
    new_tokens: int = 64
    temperature: float = 1.0
    epochs: int = 4
    minibatches: int = 2
    clip: float = 0.2
    value_clip: float = 0.2
    value_weight: float = 0.1
    discount: float = 1.0
    trace: float = 0.95
    kl_coefficient: float = 0.15
    kl_target: float = 6.0
    kl_horizon: float = 0.0
    max_kl: float = 0.0
    max_step_kl: float = 0.0
    max_loss_increase: float = 0.15
    missing_end: float = 1.0
    length_weight: float = 0.0
    held_out: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("new_tokens", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("temperature", "clip", "value_clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in (
            "value_weight",
            "kl_coefficient",
            "kl_target",
            "kl_horizon",
            "max_kl",
            "max_step_kl",
            "max_loss_increase",
            "missing_end",
            "length_weight",
            "held_out",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        check_bounds(self, 1, MOST_EPOCHS, "epochs")
        check_bounds(self, 0, MOST_SAMPLES, "held_out")
        for name in ("discount", "trace"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        # Minibatches of different sizes would weigh their answers differently.
        if self.batch % self.minibatches:
            raise ValueError(f"minibatches is {self.minibatches}; it must divide batch, {self.batch}")

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """Return the parameters of plain values. Raise UserError naming the key."""
        try:
            optimizer = PolicyOptimizerParameters(**values.get("optimizer", {}))
            return cls(**{**values, "optimizer": optimizer})
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error

    def with_derived_values(self, width: int, prompts: int) -> PPOConfig:
        """Return the parameters with every 0 that means a derived value replaced.

        Args:
            width: The width of the policy.
            prompts: The number of training prompts.
        """
        steps = self.steps or derive_steps(prompts, self.batch)
        max_kl = self.max_kl or derive_max_kl(self.kl_target)
        rate = self.optimizer.learning_rate or derive_learning_rate(width, self.batch / self.minibatches)
        return replace(
            self,
            steps=steps,
            evaluate_every=self.evaluate_every or max(1, steps // EVALUATIONS),
            kl_horizon=self.kl_horizon or derive_horizon(steps, self.batch),
            max_kl=max_kl,
            max_step_kl=self.max_step_kl or derive_max_step_kl(max_kl),
            optimizer=replace(self.optimizer, learning_rate=rate),
        )
