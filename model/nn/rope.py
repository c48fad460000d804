"""Tables of rotary position embeddings (Su et al., 2021, arXiv:2104.09864)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.nn.model_config import RopeScaling


def rotary_tables(
    head_dim: int, theta: float, scaling: RopeScaling | None, positions: int
) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of the angles of each position, [positions, head/2] float32.

    Args:
        head_dim: The width of a head.
        theta: The base of the frequencies.
        scaling: The stretch of the positions; None: none.
        positions: The number of positions.
    """
    half = head_dim // 2
    # In float64: float32 angles lose precision at late positions.
    frequencies = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    if scaling:
        frequencies = _scaled_frequencies(frequencies, scaling)
    angles = torch.arange(positions, dtype=torch.float64).unsqueeze(1) * frequencies
    return angles.cos().float(), angles.sin().float()


def _scaled_frequencies(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    slow = frequencies / scaling.factor
    if scaling.kind == "linear":
        return slow
    # The turns that a frequency makes in the context before the stretch.
    turns = scaling.original_context_length * frequencies / (2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    return torch.lerp(slow, frequencies, kept.clamp(0, 1))
