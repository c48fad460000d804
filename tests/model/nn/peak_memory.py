"""The memory of a computation on meta tensors, as it would be on a GPU without compilation."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """The most bytes that tensors made in this context hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.sizes: dict[int, int] = {}

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Leave these tensors, and the views of them, out of the count."""
        self.sizes |= {tensor.untyped_storage()._cdata: 0 for tensor in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in self.sizes:
                storage = tensor.untyped_storage()
                self.sizes[key] = storage.nbytes()
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._drop, key)
        return made

    def _drop(self, key: int) -> None:
        self.live -= self.sizes.pop(key)


def attend_as_a_gpu(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Attend by the kernel that a GPU takes; meta tensors would take products of whole matrices."""
    shares = queries.shape[1] // keys.shape[1]
    if shares > 1:
        keys, values = (part.repeat_interleave(shares, 1) for part in (keys, values))
    attend = torch.ops.aten._scaled_dot_product_flash_attention
    mixed: Tensor = attend(queries, keys, values, 0.0, True, scale=scale)[0]
    return mixed
