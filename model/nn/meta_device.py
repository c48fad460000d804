"""Meta tensors, which have shapes and no values, in the place of tensors of a device.

A pass on them shows which tensors it makes. Which operations it takes depends on the device that they stand
for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# "cpu", "cuda", or empty outside `stand_for`.
_stands_for = ""


@contextmanager
def stand_for(device: str) -> Iterator[None]:
    """Let meta tensors stand for those of a device inside a block, and make new tensors meta tensors.

    Args:
        device: "cpu" or "cuda".
    """
    global _stands_for
    before, _stands_for = _stands_for, device
    try:
        with torch.device("meta"):
            yield
    finally:
        _stands_for = before


def is_traced(tensor: Tensor) -> bool:
    """Return whether a tensor is a meta tensor that stands for one of a device."""
    return tensor.is_meta and bool(_stands_for)


def is_on_cpu(tensor: Tensor) -> bool:
    """Return whether a tensor is on the CPU, or stands for one there."""
    return tensor.device.type == "cpu" or (tensor.is_meta and _stands_for == "cpu")


def attend_as_kernel(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Return the attention of meta tensors by a kernel that stores no scores, as a GPU has, [B, H, T, head].

    Without it, meta tensors take products of whole matrices.
    """
    attend = torch.ops.aten._scaled_dot_product_flash_attention
    mixed: Tensor = attend(queries, keys, values, 0.0, True, scale=scale)[0]
    return mixed
