"""The rows of the check's table, and the sizes and clocks that its parts share."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.nn.model_config import ModelConfig


@dataclass(frozen=True)
class Row:
    """One figure of a part.

    Attributes:
        what: The figure in words.
        value: The figure; None: this device has none.
        unit: The unit, for the table.
        most, least: The bounds of a right figure; None: it is only reported.
    """

    what: str
    value: float | None
    unit: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def verdict(self) -> str:
        """Return "ok" or "FAILED" for a figure with bounds, else an empty text. A NaN fails."""
        if self.most is None and self.least is None:
            return ""
        right = (
            self.value is not None
            and (self.most is None or self.value <= self.most)
            and (self.least is None or self.value >= self.least)
        )
        return "ok" if right else "FAILED"

    @property
    def bound(self) -> str:
        """Return the bounds in words."""
        parts = [f"at most {self.most:g}"] if self.most is not None else []
        return ", ".join([*parts, f"at least {self.least:g}"] if self.least is not None else parts)


@dataclass(frozen=True)
class Size:
    """The size of a check.

    Attributes:
        trained: The shape whose speed is measured.
        compared: The shape that is compared with the CPU.
        adapted: The shape of which adapters are learned.
        rows: Rows of one pass in training.
        prompts: Prompts of a PPO step.
        prompt_tokens, new_tokens: Tokens of its prompts, and the most of its answers.
        sampled_rows: Numbers of rows of which sampling is measured.
        rounds: Measured calls of each speed.
        resumed_steps: Steps of the training that is stopped and resumed.
    """

    trained: ModelConfig
    compared: ModelConfig
    adapted: ModelConfig
    rows: int
    prompts: int
    prompt_tokens: int
    new_tokens: int
    sampled_rows: tuple[int, ...]
    rounds: int
    resumed_steps: int


# The shape of configs/gpu.yaml, and its PPO step.
WHOLE = Size(
    trained=ModelConfig(
        num_layers=12,
        hidden_size=768,
        num_heads=12,
        intermediate_size=2048,
        context_length=1024,
        vocab_size=50304,
    ),
    compared=ModelConfig(
        num_layers=4, hidden_size=256, num_heads=8, num_kv_heads=2, context_length=256, vocab_size=1024
    ),
    # 1.2 billion weights.
    adapted=ModelConfig(
        num_layers=16,
        hidden_size=2048,
        num_heads=32,
        num_kv_heads=8,
        intermediate_size=8192,
        context_length=1024,
        vocab_size=128256,
    ),
    rows=64,
    prompts=256,
    prompt_tokens=64,
    new_tokens=256,
    sampled_rows=(1, 32, 256),
    rounds=5,
    resumed_steps=300,
)
_TINY = ModelConfig(
    num_layers=2, hidden_size=64, num_heads=4, num_kv_heads=2, context_length=64, vocab_size=512
)
SMALL = Size(
    trained=_TINY,
    compared=_TINY,
    adapted=_TINY,
    rows=4,
    prompts=8,
    prompt_tokens=8,
    new_tokens=24,
    sampled_rows=(2,),
    rounds=2,
    resumed_steps=12,
)


def finish(device: str) -> float:
    """Wait for the device and return the time in seconds."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(device: str, function: Callable[[int], object], rounds: int, warm: int) -> float:
    """Return the median time of a call with the round's number, after `warm` calls that do not count."""
    took = []
    for number in range(warm + rounds):
        began = finish(device)
        function(number)
        took.append(finish(device) - began)
    return statistics.median(took[warm:])


def peak_memory(device: str) -> Row:
    """Return the most memory that this process held, on its GPU or else at all."""
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Row("peak memory", peak / 1e9, "GB")
