"""Parameters of PPO, and the derivation of open values from the size of the run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from model.parameter_bounds import MOST_EPOCHS, MOST_SAMPLES, check_bounds
from model.training.lora_config import AdaptableParameters
from model.training.optimizer_config import ADAPTER_RATE, OptimizerParameters
from model.training.ppo_derivation import (
    EVALUATIONS,
    derive_horizon,
    derive_learning_rate,
    derive_max_kl,
    derive_max_step_kl,
    derive_steps,
)


@dataclass(frozen=True)
class PPOConfig(AdaptableParameters):
    """The parameters of RLHF by PPO; `batch_size` counts the prompts that are answered in one step.

    The reward of an answer is the reward model's score at the end token, less three penalties. They are for a
    missing end token, an answer shorter than SFT's mean, and the divergence from the SFT model. The policy
    learns from the answers by the clipped losses of model/nn/losses.py.

    A step that moves the policy by more than `max_step_kl`, or beyond `max_kl`, is undone and repeated at
    half the learning rate. The result is the evaluated step with the highest held-out score within `max_kl`
    and `max_loss_increase`. The SFT model itself is step 0. `with_derived_values` replaces each 0 that means
    a derived value.
    """

    steps: int = 0
    """Number of steps; 0: derived from the number of prompts."""

    optimizer: OptimizerParameters = field(default_factory=OptimizerParameters)
    """The policy's optimizer; a `learning_rate` of 0 is derived from the model's width and the
    batch."""

    least_steps: ClassVar[int] = 0

    sources: tuple[str, ...] = ()
    """Sources whose pairs give the prompts; empty: all."""

    max_new_tokens: int = 64
    """Largest length of an answer in tokens, 1 or more."""

    sampling_batch_size: int = 0
    """Number of prompts that one device answers at once; 0: its whole share of the batch. It bounds the
    memory of keys and values; the result changes only by rounding."""

    temperature: float = 1.0
    """Temperature of the answers and of their log-probabilities, above 0."""

    ppo_epochs: int = 4
    """Number of passes over a step's answers, 1 or more."""

    num_mini_batches: int = 2
    """Number of optimizer steps in each pass. It must divide `batch_size`."""

    clip_range: float = 0.2
    """Largest change of a token's probability ratio that is learned from: the ratio is clipped to 1 plus or
    minus this, above 0."""

    value_clip_range: float = 0.2
    """Largest change of a value in one step that is learned from, above 0."""

    vf_coef: float = 0.1
    """Weight of the value loss, 0 or more."""

    gamma: float = 1.0
    """Discount factor of later rewards in the advantages, from 0 to 1."""

    gae_lambda: float = 0.95
    """λ of generalised advantage estimation, from 0 to 1."""

    init_kl_coef: float = 0.15
    """Penalty for each nat of divergence from the SFT model at the start, 0 or more."""

    kl_target: float = 6.0
    """Divergence, in nats per answer, to which the penalty is adapted; 0: the penalty stays constant."""

    kl_horizon: float = 0.0
    """Number of answers over which the penalty adapts; 0: an eighth of the run's answers."""

    max_kl: float = 0.0
    """Largest divergence from the SFT model, in nats per answer; 0: twice `kl_target`, or 12 without one."""

    max_step_kl: float = 0.0
    """Largest divergence between the policies before and after one step, in nats per answer; 0: an eighth of
    `max_kl`."""

    max_loss_increase: float = 0.15
    """Largest increase of the loss on held-out right answers over SFT's, as a share of SFT's loss, 0 or
    more."""

    missing_eos_penalty: float = 1.0
    """Penalty for an answer without end token, 0 or more."""

    short_answer_penalty: float = 0.0
    """Penalty for an answer shorter than SFT's mean, times the share by which it is shorter; 0: none."""

    num_eval_prompts: int = 64
    """Number of prompts of the validation split that one evaluation answers; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.early_stopping_patience:
            raise ValueError(
                f"early_stopping_patience is {self.early_stopping_patience}; it must be 0: RLHF keeps its "
                "best step in any case, and has no loss to stop by"
            )
        for name in ("max_new_tokens", "ppo_epochs", "num_mini_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("temperature", "clip_range", "value_clip_range"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in (
            "vf_coef",
            "init_kl_coef",
            "kl_target",
            "kl_horizon",
            "max_kl",
            "max_step_kl",
            "max_loss_increase",
            "missing_eos_penalty",
            "short_answer_penalty",
            "num_eval_prompts",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        check_bounds(self, 1, MOST_EPOCHS, "ppo_epochs")
        check_bounds(self, 0, MOST_SAMPLES, "num_eval_prompts", "sampling_batch_size")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        # Minibatches of different sizes would weigh their answers differently.
        if self.batch_size % self.num_mini_batches:
            raise ValueError(
                f"num_mini_batches is {self.num_mini_batches}; it must divide batch_size, {self.batch_size}"
            )

    @property
    def batch_parts(self) -> int:
        return min(self.gradient_parts, self.batch_size // self.num_mini_batches)

    def with_derived_values(self, width: int, prompts: int) -> PPOConfig:
        """Return the parameters with every 0 that means a derived value replaced.

        Args:
            width: The width of the policy, `hidden_size`.
            prompts: The number of training prompts.
        """
        steps = self.steps or derive_steps(prompts, self.batch_size)
        max_kl = self.max_kl or derive_max_kl(self.kl_target)
        rate = self.optimizer.learning_rate
        if not rate:
            answers = self.batch_size / self.num_mini_batches
            rate = derive_learning_rate(width, answers) * (ADAPTER_RATE if self.lora.rank else 1)
        return replace(
            self,
            steps=steps,
            eval_every=self.eval_every or max(1, steps // EVALUATIONS),
            kl_horizon=self.kl_horizon or derive_horizon(steps, self.batch_size),
            max_kl=max_kl,
            max_step_kl=self.max_step_kl or derive_max_step_kl(max_kl),
            optimizer=replace(self.optimizer, learning_rate=rate),
        )
