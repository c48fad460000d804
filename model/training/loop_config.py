"""Parameters of the training loop, which every training has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from model.errors import UserError
from model.parameter_bounds import MOST_STEPS, check_bounds
from model.training.optimizer_config import OptimizerParameters


@dataclass(frozen=True)
class LoopParameters:
    """The length of a training, and its evaluations and checkpoints."""

    steps: int = 1000
    """Number of optimizer steps, 1 or more."""

    batch_size: int = 16
    """Units of one step over all devices, 1 or more: windows of the context (`pretrain`), packed rows
    (`sft`), groups of texts (`reward`), prompts (`rlhf`)."""

    micro_batch_size: int = 0
    """Units that go through the model at once on one device; 0: all. It changes the memory; the result
    changes only by rounding."""

    activation_checkpointing: bool = False
    """Whether each block is computed again in the backward pass, rather than kept. A block then stores only
    its input. At a context of 1,024, 64 rows of a 124M model take 30 GB less, for a third more work."""

    gradient_parts: int = 2
    """Number of parts of a batch on a CPU, 1 or more; processes share them. Their gradients are added in a
    fixed order, so the number of processes does not change the result. No effect on a GPU."""

    sharding: Literal["none", "full"] = "none"
    """`full`: each process stores its own share of weights, gradients and optimizer state, for a model that
    does not fit one device; layers are gathered while they are computed. `none`: each process stores all."""

    eval_every: int = 0
    """Steps between evaluations on the validation split; 0: only before the first step and after the
    last."""

    save_every: int = 200
    """Steps between checkpoints; 0: only before the first step and after the last."""

    max_save_interval_seconds: float = 20.0
    """Seconds of work after which a checkpoint is also written, if writing takes at most a tenth of the
    time; 0: never."""

    early_stopping_patience: int = 0
    """Number of evaluations in a row without a lower held-out loss after which the training stops and keeps
    the best weights; 0: off."""

    optimizer: OptimizerParameters = field(default_factory=OptimizerParameters)
    """The optimizers and the learning-rate schedule."""

    # 0 in a task that derives the number of steps.
    least_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_bounds(self, self.least_steps, MOST_STEPS, "steps")
        check_bounds(self, 1, MOST_STEPS, "batch_size", "gradient_parts")
        if self.sharding not in ("none", "full"):
            raise ValueError(f"sharding is {self.sharding!r}; expected none or full")
        check_bounds(
            self, 0, MOST_STEPS,
            "micro_batch_size", "eval_every", "save_every", "max_save_interval_seconds",
            "early_stopping_patience",
        )  # fmt: skip

    @property
    def is_sharded(self) -> bool:
        """Return whether the processes share the weights."""
        return self.sharding == "full"

    @property
    def batch_parts(self) -> int:
        """Return the number of parts that the units of one optimizer step make: none is empty."""
        return min(self.gradient_parts, self.batch_size)

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """Return the parameters of plain values, as a training process gets them.

        Raises:
            UserError: A value is wrong; the message names the key.
        """
        try:
            return cls(**{**values, "optimizer": OptimizerParameters(**values.get("optimizer", {}))})
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error
