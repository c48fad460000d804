"""Low-rank adapters beside the frozen linear layers of a model.

A layer with the weight W and an adapter computes W·x + (alpha / rank) · B·A·x. Only A and B are learned. One
model can have several adapters, of which one or none is active.

Hu et al., LoRA: Low-rank adaptation of large language models, 2021, arXiv:2106.09685.

Shapes: D inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.nn.nf4 import packed_weight


@dataclass
class ActiveAdapter:
    """The name of the adapter that all layers of one model use; empty: none."""

    name: str = ""


class Adapter(nn.Module):
    """The two matrices of one layer's adapter, A [R, D] and B [O, R], and their factor."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, random: torch.Generator) -> None:
        super().__init__()
        packed = packed_weight(layer)
        like = layer.weight if packed is None else packed.codes
        # Adapters of a model without weights have some, unless all new tensors are to have none.
        device = torch.get_default_device() if like.is_meta else like.device
        self.rank, self.alpha = rank, alpha
        # In float32, whatever the type of the frozen weight: it is what learns.
        self.lora_A, self.lora_B = (
            nn.Linear(*shape, bias=False, device=device, dtype=torch.float32)
            for shape in ((layer.in_features, rank), (rank, layer.out_features))
        )
        # As in PEFT: A is drawn as a linear layer's weight. B is zero, so that the model starts unchanged.
        bound = 1 / math.sqrt(layer.in_features)
        with torch.no_grad():
            drawn = torch.rand(rank, layer.in_features, generator=random)
            self.lora_A.weight.copy_(drawn.mul_(2 * bound).sub_(bound))
            self.lora_B.weight.zero_()

    @property
    def scale(self) -> float:
        """Return the factor of the adapter's output."""
        return self.alpha / self.rank

    def forward(self, x: Tensor) -> Tensor:
        """Return what the adapter adds to the layer's output: [..., D] -> [..., O]."""
        added: Tensor = self.lora_B(self.lora_A(x) * self.scale)
        return added

    def weight_change(self) -> Tensor:
        """Return what the adapter adds to the layer's weight, [O, D] float32."""
        return self.lora_B.weight.float() @ self.lora_A.weight.float() * self.scale


class AdaptedLinear(nn.Linear):
    """A frozen linear layer with adapters. It has no parameter `weight` if that is in 4 bits (`packed`)."""

    def __init__(self, layer: nn.Linear, active: ActiveAdapter) -> None:
        # On the meta device, so that no second weight is allocated.
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.packed = packed_weight(layer)
        self.adapters = nn.ModuleDict()
        self.active = active

    @property
    def adapter(self) -> Adapter | None:
        """Return the active adapter."""
        for name, adapter in self.adapters.items():
            if name == self.active.name and isinstance(adapter, Adapter):
                return adapter
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output with what the active adapter adds to it: [..., D] -> [..., O]."""
        packed = self.packed
        out = F.linear(x, self.weight, self.bias) if packed is None else packed(x, self.bias)
        return out if (adapter := self.adapter) is None else out + adapter(x)


class TrainedRows(nn.Module):
    """Some rows of a frozen table, which are learned: those of tokens that were added to an open model."""

    def __init__(self, rows: Tensor, numbers: Sequence[int]) -> None:
        """Store the rows, [N, D], and their numbers in the table."""
        super().__init__()
        self.numbers = torch.tensor(numbers, device=rows.device)
        # In float32, as the matrices of an adapter.
        self.rows = nn.Parameter(rows.to(torch.float32, copy=True))

    def forward(self, table: Tensor) -> Tensor:
        """Return the table with the learned rows in their places, [V, D]."""
        return table.index_copy(0, self.numbers.to(table.device), self.rows)


def add_adapters(out: Tensor, x: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Return the joined outputs of several layers of one input, with what their active adapters add.

    Args:
        out: The outputs of the layers without adapters, [..., sum of O].
        x: The input, [..., D].
        layers: The layers, in the order of their outputs.
    """
    adapters = [layer.adapter if isinstance(layer, AdaptedLinear) else None for layer in layers]
    present = [adapter for adapter in adapters if adapter is not None]
    if not present:
        return out
    # One product for the first matrices of all adapters.
    inner = F.linear(x, torch.cat([adapter.lora_A.weight * adapter.scale for adapter in present]))
    inner_parts = iter(inner.split([adapter.rank for adapter in present], dim=-1))
    added = []
    for adapter, layer in zip(adapters, layers, strict=True):
        if adapter is None:
            added.append(x.new_zeros(*x.shape[:-1], layer.out_features))
        else:
            added.append(adapter.lora_B(next(inner_parts)))
    return out + torch.cat(added, dim=-1)


def effective_weight(layer: nn.Linear) -> Tensor:
    """Return the weight of a layer with what its active adapter adds to it, [O, D]."""
    packed = packed_weight(layer)
    weight = layer.weight if packed is None else packed.dequantize()
    if not isinstance(layer, AdaptedLinear) or (adapter := layer.adapter) is None:
        return weight
    return (weight.float() + adapter.weight_change()).to(weight.dtype)


def attach_adapter(
    model: nn.Module, name: str, rank: int, alpha: float, target_modules: Sequence[str], seed: int
) -> None:
    """Freeze a model, give its layers a new adapter, and make that the active one.

    Args:
        model: The model; its layers are replaced in place.
        name: The adapter's name.
        rank: R.
        alpha: The adapter's factor times its rank.
        target_modules: The names of the linear layers inside each block, by Hugging Face's names.
        seed: The seed of the matrices A.
    """
    # On the CPU, so that the matrices do not depend on the device.
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    active = next((layer.active for _, layer in adapted_layers(model)), ActiveAdapter())
    active.name = name
    for path, layer in list(model.named_modules()):
        parent, _, last = path.rpartition(".")
        if not isinstance(layer, nn.Linear) or last not in target_modules:
            continue
        if not isinstance(layer, AdaptedLinear):
            layer = AdaptedLinear(layer, active)
            setattr(model.get_submodule(parent), last, layer)
        layer.adapters[name] = Adapter(layer, rank, alpha, random)


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, AdaptedLinear]]:
    """Yield the layers with adapters, with their names in the model."""
    for name, module in model.named_modules():
        if isinstance(module, AdaptedLinear):
            yield name, module


@contextmanager
def active_adapter(model: nn.Module, name: str) -> Iterator[None]:
    """Make another adapter the active one inside a block; empty: none."""
    layer = next((layer for _, layer in adapted_layers(model)), None)
    if layer is None:
        yield
        return
    active, before = layer.active, layer.active.name
    active.name = name
    try:
        yield
    finally:
        active.name = before
