"""Model FLOPs utilization: the share of a device's peak speed that a training's arithmetic uses.

Chowdhery et al., PaLM, 2022, arXiv:2204.02311, appendix B.
"""

from __future__ import annotations

import math

from model.nn.model_config import ModelConfig

# Dense bfloat16 FLOP/s of a device, from its data sheet, by a part of its name; the first match counts.
PEAKS = (
    ("B200", 2250e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("A10G", 70e12),
    ("A10", 125e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
)


def flops_per_token(architecture: ModelConfig) -> int:
    """Return the FLOPs of a forward and a backward pass for each token of a full context.

    Every weight of a matrix product counts six times: two in the forward pass and four in the backward pass.
    The input's embedding is a lookup, so a tied table counts once, as the output layer. The attention's
    products count over the whole context, although half of them are masked.
    """
    a = architecture
    shapes = a.weight_shapes()
    if not a.tie_embeddings:
        del shapes["model.embed_tokens.weight"]
    weights = sum(math.prod(shape) for shape in shapes.values() if len(shape) == 2)
    return 6 * weights + 12 * a.num_layers * a.num_heads * a.head_dim * a.context_length


def peak_flops(device_name: str) -> float:
    """Return the peak of a device in FLOP/s; 0 if it is unknown."""
    return next((peak for part, peak in PEAKS if part in device_name), 0.0)


def flops_utilization(flops_per_second: float, device_name: str) -> float | None:
    """Return the utilization of a device from 0 to 1, from its speed; None if its peak is unknown."""
    peak = peak_flops(device_name)
    return flops_per_second / peak if peak else None
