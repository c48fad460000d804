"""Derivation of the values that a preset leaves open in PPO, from the model and the size of the run."""

from __future__ import annotations

import math

# The values of the two presets, from which others are derived; docs/notebook.md has the trials.
SMALL_WIDTH, SMALL_RATE = 128, 8e-4
LARGE_WIDTH, LARGE_RATE = 768, 3e-5
ANSWERS_AN_UPDATE = 64
HORIZON_SHARE = 0.125  # of all answers of a run: the demo's 1,500 of 12,800
DEFAULT_MAX_KL = 12.0
STEP_SHARE = 0.125  # of max_kl, for one step
_PASSES = 4  # over the prompts, where the number of steps is derived
LEAST_STEPS, _MOST_STEPS = 20, 300
EVALUATIONS = 5


def derive_learning_rate(width: int, answers: float) -> float:
    """Return the learning rate for a policy of a width and an optimizer step on so many answers.

    The rate falls with the width, between the rates of the two presets. With fewer answers per update than
    the demo's 64, it falls with the square root of their number: Adam takes steps of the same length on noisy
    gradients.

    Malladi et al., On the SDEs and scaling rules for adaptive gradient algorithms, 2022, arXiv:2205.10287.
    """
    share = math.log(width / SMALL_WIDTH) / math.log(LARGE_WIDTH / SMALL_WIDTH)
    rate = SMALL_RATE * (LARGE_RATE / SMALL_RATE) ** min(1.0, max(0.0, share))
    # Two significant digits: derived values are recorded and read by people.
    return float(f"{rate * math.sqrt(min(1.0, answers / ANSWERS_AN_UPDATE)):.2g}")


def derive_steps(prompts: int, batch: int) -> int:
    """Return the number of steps: four passes over the prompts, but from 20 to 300 steps."""
    return max(LEAST_STEPS, min(_MOST_STEPS, math.ceil(_PASSES * prompts / batch)))


def derive_horizon(steps: int, batch: int) -> float:
    """Return the number of answers over which the KL penalty adapts: an eighth of the run's."""
    return max(1.0, HORIZON_SHARE * steps * batch)


def derive_max_kl(kl_target: float) -> float:
    """Return the bound on the divergence in nats per answer: twice the target, or 12 without one."""
    return 2 * kl_target if kl_target else DEFAULT_MAX_KL


def derive_max_step_kl(max_kl: float) -> float:
    """Return the bound on the divergence between the policies around a step: an eighth of `max_kl`."""
    return STEP_SHARE * max_kl
