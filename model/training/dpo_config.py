"""Parameters of direct preference optimization."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

from model.nn.model_config import ModelConfig
from model.parameter_bounds import KEYED_IF_SET
from model.training.lora_config import AdaptableParameters

_PASSES = 2  # over the pairs, where the number of steps is derived
_LEAST_STEPS, _MOST_STEPS = 10, 1000
# Of the learning rate of other trainings: preferences need smaller steps than answers.
_RATE_SHARE = 0.1
_EVALUATIONS = 5


@dataclass(frozen=True)
class ReferenceParameters:
    """The part of DPO's parameters that its reference depends on, so that other changes reuse it.

    Attributes:
        margin: As in DPOConfig.
        gradient_parts: The most processes on a CPU.
        sharding: As in DPOConfig.
        quantize: As in LoRAParameters: the reference is the policy without its adapter.
    """

    margin: float
    gradient_parts: int
    sharding: str
    quantize: str = field(default="none", metadata={KEYED_IF_SET: True})

    @property
    def is_sharded(self) -> bool:
        """Return whether each process stores a part of the weights only."""
        return self.sharding != "none"


@dataclass(frozen=True)
class DPOConfig(AdaptableParameters):
    """The parameters of alignment by DPO; `batch_size` counts pairs of answers to one prompt.

    The result is the evaluated step with the lowest held-out loss within `max_loss_increase`. The SFT model
    itself is step 0.
    """

    steps: int = 0
    """Number of steps; 0: two passes over the pairs, but from 10 to 1,000 steps."""

    beta: float = 0.1
    """Strength of the tie to the SFT model, above 0; a lower one lets the model go further."""

    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """`sigmoid` is DPO's loss. `ipo` aims at a fixed margin, and so does not overfit pairs that all people
    agree on."""

    label_smoothing: float = 0.0
    """Share of the labels that are taken to be wrong, from 0 to below 0.5; for `sigmoid`."""

    chosen_loss_coef: float = 0.2
    """Weight of the loss on the chosen answers, in nats a token, beside DPO's loss, 0 or more. With 0, both
    answers of a pair may become less likely. If the rejected ones are mostly shorter, answers then no longer
    end."""

    margin: float = 1.0
    """Smallest difference between the mean scores of two rated answers that form a pair, above 0."""

    max_loss_increase: float = 0.15
    """Largest increase of the loss on held-out right answers over SFT's, as a share of SFT's loss, 0 or
    more."""

    least_steps: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.early_stopping_patience:
            raise ValueError(
                f"early_stopping_patience is {self.early_stopping_patience}; it must be 0: the best step is "
                "kept in any case"
            )
        # Written so that a NaN fails too.
        for name in ("beta", "margin"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; it must be from 0 to below 0.5")
        if not 0 <= self.chosen_loss_coef < math.inf:
            raise ValueError(f"chosen_loss_coef is {self.chosen_loss_coef}; it must be 0 or more, and finite")
        # Infinite: no bound.
        if not self.max_loss_increase >= 0:
            raise ValueError(f"max_loss_increase is {self.max_loss_increase}; it must be 0 or more")
        if self.loss not in ("sigmoid", "ipo"):
            raise ValueError(f"loss is {self.loss!r}; it must be sigmoid or ipo")

    @property
    def reference_parameters(self) -> ReferenceParameters:
        """Return the parameters of the reference."""
        return ReferenceParameters(self.margin, self.batch_parts, self.sharding, self.lora.quantize)

    def with_derived_values(self, architecture: ModelConfig, pairs: int) -> Self:
        """Return the parameters with every 0 that means a derived value replaced.

        Args:
            architecture: The policy's.
            pairs: The number of training pairs.
        """
        wanted = math.ceil(_PASSES * pairs / self.batch_size)
        steps = self.steps or max(_LEAST_STEPS, min(_MOST_STEPS, wanted))
        rate = self.optimizer.learning_rate
        if not rate:
            usual = self.optimizer.for_model(architecture, self.lora.rank > 0).learning_rate
            rate = float(f"{_RATE_SHARE * usual:.2g}")
        return replace(
            self,
            steps=steps,
            eval_every=self.eval_every or max(1, steps // _EVALUATIONS),
            optimizer=replace(self.optimizer, learning_rate=rate),
        )
