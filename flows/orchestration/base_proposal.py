"""The numbers of a new preset that starts from an open model: they fit this machine's time and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flows.orchestration.memory_check import MemoryCheck
from flows.orchestration.open_base import OpenBase
from model.errors import UserError
from model.training.available_memory import DeviceMemory, find_memory
from model.training.devices import compute_dtype, count_processes
from model.training.lora_config import LoRAParameters, Quantization
from model.training.sft_config import SFTParameters
from tasks.onboarding.base_sizing import (
    BasePlan,
    base_adapter,
    base_context,
    lower_memory,
    plan_base_run,
)
from tasks.onboarding.model_sizing import Amount

if TYPE_CHECKING:
    from flows.config import Preset
    from model.nn.model_config import ModelConfig

# Tokens of a timed step by device: as many as a training's, but not so many that a large model takes minutes.
_TIMED_TOKENS = {"cpu": 512, "cuda": 16_384}
# Each halves what one training computes at once.
_MOST_ATTEMPTS = 60


def propose_base_plan(
    base: OpenBase,
    amount: Amount,
    device: str,
    minutes: float,
    measure: Callable[[ModelConfig, int, LoRAParameters], float],
    memory: DeviceMemory | None = None,
    quantize: Quantization = "none",
) -> BasePlan:
    """Return the numbers of a run that starts from an open model.

    If the weights do not fit the memory in 16 bits, they are kept in 4.

    Args:
        base: The open model.
        amount: The amount of data in the tokens of the model.
        device: "cpu" or "cuda".
        minutes: The longest time of a run.
        measure: Returns the tokens a second of a training step, by shape, batch and adapters.
        memory: The memory of the device; None: that of this machine's.
        quantize: How the frozen weights are kept; see LoRAParameters.

    Raises:
        UserError: The device has less memory than a training of the model needs, however small its batch.
    """
    own = base.architecture
    context = base_context(amount, own.context_length, device)
    longest = own.max_context_length or own.context_length
    shape = replace(
        own, context_length=context, max_context_length=longest if context < longest else 0, open_model=True
    )
    memory = memory or find_memory(device)
    there = memory.total + memory.swap
    if quantize == "none" and memory.total and least_memory(shape, quantize, device) > there:
        quantize = "nf4"
    least = least_memory(shape, quantize, device)
    if memory.total and least > there:
        what = "the GPU" if device == "cuda" else "this machine"
        raise UserError(
            f"--base {base.text}: the model has {shape.num_parameters:,} weights; a training with adapters "
            f"needs {least / 1e9:,.1f} GB of memory, with these weights in 4 bits, and {what} has "
            f"{there / 1e9:,.1f} GB; choose a smaller model"
        )
    batch = max(2, _TIMED_TOKENS[device] // context)
    pace = measure(shape, batch, base_adapter(shape.hidden_size, quantize))
    answers = base.tokenizer.keeps_template
    return plan_base_run(amount, shape, pace, minutes, device, answers, quantize)


def least_memory(shape: ModelConfig, quantize: Quantization, device: str) -> int:
    """Return the bytes that SFT with adapters needs however short its rows are."""
    # Importing PyTorch takes a second.
    from model.training.memory_estimate import Training, estimate_memory

    parameters = SFTParameters(batch_size=1, lora=base_adapter(shape.hidden_size, quantize))
    processes = count_processes(device, 0, parameters.batch_parts)
    training = Training(parameters, shape, device, processes, compute_dtype(device))
    least = estimate_memory(training).least
    return least * processes if device == "cpu" else least


def fit_memory(
    plan: BasePlan,
    parse: Callable[[], Preset],
    root: Path,
    device: str,
    memory: DeviceMemory | None = None,
) -> list[str]:
    """Lower what the trainings of a plan compute at once until they fit the free memory.

    Args:
        plan: The plan; its sections are changed in place.
        parse: Returns the preset of the plan as it is.
        root: The project's folder.
        device: "cpu" or "cuda".
        memory: The memory of the device; None: that of this machine's.

    Returns:
        The sections that do not fit with the smallest passes.
    """
    large: list[str] = []
    for _ in range(_MOST_ATTEMPTS):
        found = MemoryCheck(parse(), root, device, memory)
        limit = found.memory.free or found.memory.total
        # A training that the plan lacks has the defaults, and is not reached.
        large = [
            stage.section
            for stage in found.stages
            if limit and stage.needed > limit and stage.section.partition(".")[0] in plan.sections
        ]
        # Each training is lowered, also after one that cannot be.
        if not any([lower_memory(plan.sections, section) for section in large]):
            break
    return large
