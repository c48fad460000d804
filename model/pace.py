"""How fast this machine trains: a few real steps on made-up tokens, before there is anything to train on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from model.batches import generator
from model.device import World, compute_dtype
from model.loop import LoopParameters, supervised_update
from model.losses import next_token_loss
from model.optimizer import Learner, OptimizerParameters
from model.transformer import Architecture, Transformer

WARM = 2


@dataclass(frozen=True)
class Pace:
    """Tokens a second that a training step takes in, and the steps that this was measured on."""

    tokens_per_second: float
    steps: int


def measure(architecture: Architecture, batch: int, device: str, seconds: float) -> Pace:
    """Train a model of this shape on `batch` windows of random tokens for about so many seconds.

    At least one step after two that warm up. Without compilation, which a GPU's real run has.
    """
    world = World(device=device)
    parameters = LoopParameters(optimizer=OptimizerParameters(muon_learning_rate=0.01))
    model = Transformer(architecture).initialise(0)
    learner = Learner(model, parameters.optimizer, compute_dtype(device), world)
    drawn = generator(0).integers(architecture.vocabulary, size=(batch, architecture.context + 1))
    tokens = torch.from_numpy(drawn).to(device)

    def step(number: int) -> float:
        supervised_update(
            learner, parameters, number, batch, batch * architecture.context,
            lambda part: next_token_loss(
                model.logits(model(tokens[part, :-1])).flatten(0, 1), tokens[part, 1:].flatten()
            ),
        )  # fmt: skip
        # The loss is read in each step, so that nothing is left waiting on the device.
        return time.monotonic()

    began = time.monotonic()
    warm = began
    for number in range(WARM):
        warm = step(number)
        if warm - began > seconds:
            break
    taken, now = 0, warm
    while not taken or now - began < seconds:
        now = step(WARM + taken)
        taken += 1
    return Pace(taken * batch * architecture.context / max(now - warm, 1e-9), taken)


def memory(device: str) -> int:
    """Bytes of memory that training may have: the GPU's, or of this machine; 0 where it is not known."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("MemAvailable")).split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return 0
