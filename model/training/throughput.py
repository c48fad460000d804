"""Measurement of training speed: a few real steps on random tokens, before any training data exists."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from model.data.dataloader import seeded_rng
from model.events import EventCallback
from model.nn.losses import linear_next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.nf4 import quantize_layers
from model.nn.transformer import Transformer
from model.training.adapters import adapt_model
from model.training.devices import compute_dtype, count_processes
from model.training.launcher import launch_training
from model.training.loop_config import LoopParameters
from model.training.lora_config import LoRAParameters
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.supervised import supervised_update

# The first steps allocate memory and choose kernels.
WARM = 2


@dataclass(frozen=True)
class Pace:
    """The speed of training steps in tokens a second, and the number of measured steps."""

    tokens_per_second: float
    steps: int


def measure_pace(
    architecture: ModelConfig,
    batch: int,
    device: str,
    seconds: float,
    lora: LoRAParameters = LoRAParameters(),  # noqa: B008
) -> Pace:
    """Train a model of this shape on windows of random tokens for about `seconds` seconds; return its speed.

    The steps run as those of a training do: in the same number of processes, with the same settings of their
    memory. At least one step is measured, after one or two to warm up. Unlike a real run on a GPU, it does
    not compile the model.

    Args:
        architecture: The shape of the model.
        batch: The windows of a step over all processes.
        device: "cpu" or "cuda".
        seconds: The time of the measurement.
        lora: The adapters that learn in place of the weights; with rank 0 all weights learn.
    """
    arguments = {
        "architecture": asdict(architecture), "batch": batch, "device": device, "seconds": seconds,
        "lora": asdict(lora),
    }  # fmt: skip
    processes = count_processes(device, 0, LoopParameters(batch_size=batch).batch_parts)
    with tempfile.TemporaryDirectory() as folder:
        found = launch_training(time_steps, arguments, processes=processes, log=Path(folder) / "log")
    return Pace(**found)


def time_steps(
    architecture: dict[str, Any],
    batch: int,
    device: str,
    seconds: float,
    lora: dict[str, Any],
    on_event: EventCallback,
) -> dict[str, Any]:
    """Time training steps in this process of a group; return the fields of Pace.

    Args:
        architecture: As in ModelConfig.
        batch, device, seconds: As in `measure_pace`.
        lora: As in LoRAParameters.
        on_event: Not called.
    """
    adapter = LoRAParameters(**lora)
    optimizer = OptimizerParameters(muon_learning_rate=0.0 if adapter.rank else 0.01)
    parameters = LoopParameters(batch_size=batch, optimizer=optimizer)
    world = ProcessGroup.join_group(device, parameters.batch_parts)
    shape = ModelConfig(**architecture)
    model = Transformer(shape)
    if adapter.is_quantized:
        # The speed does not depend on the values of the weights in 4 bits, which stay 0.
        quantize_layers(model)
    adapt_model(model.init_weights(0), adapter, seed=0)
    learner = MixedPrecisionOptimizer(model, parameters.optimizer, compute_dtype(device), world)
    drawn = seeded_rng(0).integers(shape.vocab_size, size=(batch, shape.context_length + 1))
    tokens = torch.from_numpy(drawn).to(device)

    def step(number: int) -> float:
        supervised_update(
            learner, parameters, number, batch, batch * shape.context_length,
            lambda part: linear_next_token_loss(
                model(tokens[part, :-1]).flatten(0, 1), model.output_weight, tokens[part, 1:].flatten()
            ),
        )  # fmt: skip
        # The loss was read in the step, so no work is left waiting on the device.
        return time.monotonic()

    began = time.monotonic()
    now = began
    for number in range(WARM):
        now = step(number)
        if world.any_process(now - began > seconds):
            break
    took: list[float] = []
    # All processes stop together, as each step needs all of them.
    while not took or not world.any_process(now - began >= seconds):
        before, now = now, step(WARM + len(took))
        took.append(now - before)
    # The median: a step that another program delayed says nothing about the others.
    return {"tokens_per_second": batch * shape.context_length / max(median(took), 1e-9), "steps": len(took)}
