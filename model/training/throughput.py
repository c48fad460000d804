"""Measurement of training speed: a few real steps on random tokens, before any training data exists."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch

from model.data.dataloader import seeded_rng
from model.nn.losses import next_token_loss
from model.nn.transformer import ModelConfig, Transformer
from model.training.devices import compute_dtype, count_processes
from model.training.optimizer import MixedPrecisionOptimizer, OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.supervised import supervised_update
from model.training.trainer import LoopParameters

# The first steps allocate memory and choose kernels.
WARM = 2


@dataclass(frozen=True)
class Pace:
    """The speed of training steps in tokens a second, and the number of measured steps."""

    tokens_per_second: float
    steps: int


def measure_pace(architecture: ModelConfig, batch: int, device: str, seconds: float) -> Pace:
    """Train a model of this shape on windows of random tokens for about `seconds` seconds; return its speed.

    On a CPU, this process computes the share of one training process: its rows of the batch, with its number
    of threads. At least one step is measured, after one or two to warm up. Unlike a real run on a GPU, it
    does not compile the model.

    Args:
        architecture: The shape of the model.
        batch: The windows of a step over all processes.
        device: "cpu" or "cuda".
        seconds: The time of the measurement.
    """
    processes = count_processes(device, 0, LoopParameters(batch_size=batch).batch_parts)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // processes))
    try:
        return _measure_steps(architecture, batch, -(-batch // processes), device, seconds)
    finally:
        torch.set_num_threads(threads)


def _measure_steps(architecture: ModelConfig, batch: int, rows: int, device: str, seconds: float) -> Pace:
    """Return the pace of all processes, of which this one computes `rows` of the `batch` windows."""
    world = ProcessGroup(device=device)
    parameters = LoopParameters(optimizer=OptimizerParameters(muon_learning_rate=0.01))
    model = Transformer(architecture).init_weights(0)
    learner = MixedPrecisionOptimizer(model, parameters.optimizer, compute_dtype(device), world)
    drawn = seeded_rng(0).integers(architecture.vocab_size, size=(rows, architecture.context_length + 1))
    tokens = torch.from_numpy(drawn).to(device)

    def step(number: int) -> float:
        supervised_update(
            learner, parameters, number, rows, rows * architecture.context_length,
            lambda part: next_token_loss(
                model.compute_logits(model(tokens[part, :-1])).flatten(0, 1), tokens[part, 1:].flatten()
            ),
        )  # fmt: skip
        # The loss was read in the step, so no work is left waiting on the device.
        return time.monotonic()

    began = time.monotonic()
    now = began
    for number in range(WARM):
        now = step(number)
        if now - began > seconds:
            break
    took: list[float] = []
    while not took or now - began < seconds:
        before, now = now, step(WARM + len(took))
        took.append(now - before)
    # The median: a step that another program delayed says nothing about the others.
    return Pace(batch * architecture.context_length / max(median(took), 1e-9), len(took))


def device_memory(device: str) -> int:
    """Return the bytes of memory that training may use, the GPU's or the machine's; 0 if not known."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("MemAvailable")).split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return 0
