"""Fresh weights of a transformer: their distribution, and the same ones for every device and process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from model.nn.model_config import ModelConfig

# Returns some rows of a weight, by name.
ReadRows = Callable[[str, slice], Tensor]


def draw_weight(
    architecture: ModelConfig, name: str, shape: Sequence[int], random: torch.Generator
) -> Tensor:
    """Return a fresh weight.

    Matrices are normal with mean 0 and standard deviation 0.02. It is 0.02/√(2L) if their output is added
    to the residual stream. Gains are 1, and biases 0.

    Radford et al., Language models are unsupervised multitask learners, 2019.
    """
    if len(shape) < 2:
        return torch.full(tuple(shape), 0.0 if name.endswith(".bias") else 1 - architecture.gain_offset)
    # Two additions a layer: without the smaller scale the stream's variance grows with the depth.
    added = name.endswith(("o_proj.weight", "down_proj.weight"))
    scale = 0.02 / math.sqrt(2 * architecture.num_layers) if added else 0.02
    return torch.randn(tuple(shape), generator=random) * scale


def seeded_rows(architecture: ModelConfig, seed: int) -> ReadRows:
    """Return a function that gives rows of the weights of `init_weights`, to be called in their order."""
    random = torch.Generator().manual_seed(seed)
    shapes = architecture.weight_shapes()
    return lambda name, rows: draw_weight(architecture, name, shapes[name], random)[rows].clone()
