"""One optimizer step of supervised training, in parts and micro-batches over all processes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from model.training.learner import Learner
from model.training.loop_config import LoopParameters


def supervised_update(
    learner: Learner,
    parameters: LoopParameters,
    step: int,
    units: int,
    weight: float,
    loss_of: Callable[[slice], Tensor],
) -> dict[str, float]:
    """Take one optimizer step on `units` units.

    Args:
        learner: The module with its optimizers.
        parameters: The batch and learning-rate schedule.
        step: The number of the step, from 0.
        units: The number of units over all processes.
        weight: The divisor of the losses summed over all processes. It is known before the first backward
            pass, so the numbers of micro-batches and processes do not matter.
        loss_of: Returns the summed loss of a slice of the units.

    Returns:
        The mean loss, the gradient's norm and the learning rate's factor.

    Raises:
        FloatingPointError: The loss or the gradient is not finite.
        StepAbandoned: The training was asked to stop. Nothing has changed then.
    """
    world, stop = learner.world, learner.stop
    totals = []
    for part in world.shard_parts(units):
        total = torch.zeros((), device=world.device)
        for rows, factor in world.micro_batches(part, units, parameters.micro_batch_size):
            if stop.asked and learner.may_leave_step:
                # Not a number: all processes learn from the sum that this one has left the step.
                total.fill_(math.nan)
                break
            loss = loss_of(rows) / weight
            if factor != 1:
                loss = loss * factor
            loss.backward()
            learner.accumulate_grads()
            total += loss.detach()
        else:
            learner.finish_part()
        totals.append(total)
    # Reduced first, so that all processes see the same value and skip the same batch.
    value = world.sum_parts(totals, units).item()
    if not math.isfinite(value):
        learner.zero_grad()
        stop.abandon_step(world, together=True)
        raise FloatingPointError("the loss")
    scale = parameters.optimizer.lr_scale(step, parameters.steps)
    norm = learner.step(scale)
    return {"loss": value, "gradient_norm": norm, "learning_rate_scale": scale}
