"""Frozen weights in 4 bits: NormalFloat, with scales that are quantised too.

Dettmers et al., QLoRA: Efficient finetuning of quantized LLMs, 2023, arXiv:2305.14314. Each block of 64
weights is divided by its largest magnitude and rounded to 16 levels, the quantiles of a normal distribution.
The magnitudes are stored as 8-bit numbers, in groups of 256 that have a step in float32. A weight takes 0.516
bytes.

A rounded weight can also have a low-rank part, which is not rounded: what earlier trainings learned.

Shapes: O outputs, D inputs, R rank, N blocks, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The paper's Appendix E.
LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
    1.0,
)  # fmt: skip
BLOCK, GROUP = 64, 256
_LARGEST_SCALE = 127
# Weights that are converted at once: more need more memory beside the result.
_CHUNK = 1 << 24
# Sums of whole numbers do not depend on the number of threads, as sums of floats do.
_FIXED_POINT = 2.0**38


class NF4Weight(nn.Module):
    """The weight of a linear layer in 4 bits, with a low-rank part.

    Attributes:
        shape: O and D.
        codes: [N, 32] uint8, two levels each, the first in the upper bits.
        scales: [N] int8, the magnitudes of the blocks less their mean, in steps.
        steps: [G] int32, the bits of the groups' steps in float32.
        mean: [1] int32, the bits of the mean magnitude in float32.
        first: [R, D], the first matrix of the low-rank part; R is 0 without one.
        second: [O, R], the second one.
    """

    codes: Tensor
    scales: Tensor
    steps: Tensor
    mean: Tensor
    pairs: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, rows: int, columns: int) -> None:
        """Allocate a weight of zeros."""
        super().__init__()
        self.shape = (rows, columns)
        blocks = math.ceil(rows * columns / BLOCK)
        levels = torch.tensor(LEVELS, device="cpu")
        pairs = torch.stack([levels.repeat_interleave(16), levels.repeat(16)], dim=1)
        tensors = {
            "codes": torch.full((blocks, BLOCK // 2), 0x77, dtype=torch.uint8),
            "scales": torch.zeros(blocks, dtype=torch.int8),
            # As integers: a change of the model's type would round numbers in float32.
            "steps": torch.zeros(math.ceil(blocks / GROUP), dtype=torch.int32),
            "mean": torch.zeros(1, dtype=torch.int32),
            "pairs": pairs.view(torch.int32).to(torch.get_default_device()),
            "first": torch.zeros(0, columns),
            "second": torch.zeros(rows, 0),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @classmethod
    @torch.no_grad()
    def quantize(cls, weight: Tensor) -> NF4Weight:
        """Return a weight, [O, D] of any float type, in 4 bits."""
        made = cls(*weight.shape)
        levels = torch.tensor(LEVELS)
        bounds = (levels[1:] + levels[:-1]) / 2
        flat, at_once = weight.detach().cpu().reshape(-1), _CHUNK // BLOCK
        largest = torch.zeros(len(made.codes))
        for start in range(0, len(made.codes), at_once):
            part = slice(start, start + at_once)
            values = flat[start * BLOCK : (start + at_once) * BLOCK].float()
            values = F.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
            largest[part] = values.abs().amax(1)
            values = values / largest[part, None].clamp(min=torch.finfo(torch.float32).tiny)
            codes = torch.bucketize(values, bounds, out_int32=True).to(torch.uint8)
            made.codes[part] = codes[:, ::2] << 4 | codes[:, 1::2]
        made._set_scales(largest)
        return made

    def _set_scales(self, largest: Tensor) -> None:
        """Store the magnitudes of the blocks, [N] float32."""
        top = largest.max().double().clamp(min=torch.finfo(torch.float32).tiny)
        whole = (largest.double() / top * _FIXED_POINT).round().long().sum()
        mean = (whole.double() / _FIXED_POINT / len(largest) * top).float()
        offsets = F.pad(largest - mean, (0, -len(largest) % GROUP)).view(-1, GROUP)
        steps = offsets.abs().amax(1) / _LARGEST_SCALE
        numbers = (offsets / steps.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round()
        self.scales.copy_(numbers.clamp(-_LARGEST_SCALE, _LARGEST_SCALE).view(-1)[: len(largest)])
        self.steps.copy_(steps.view(torch.int32))
        self.mean.copy_(mean.reshape(1).view(torch.int32))

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the model's arithmetic."""
        return self.first.dtype

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors that `dequantize_nf4` takes."""
        return self.codes, self.scales, self.steps, self.mean, self.pairs, self.first, self.second

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """Return the weight with its low-rank part, [O, D].

        Args:
            dtype: Its type; None: that of the model's arithmetic.
        """
        return dequantize_nf4(self.tensors, self.shape, dtype or self.dtype)

    def add_low_rank(self, first: Tensor, second: Tensor) -> None:
        """Add second @ first to the weight; [R, D] and [O, R]."""
        self.first = torch.cat([self.first, first.to(self.first)])
        self.second = torch.cat([self.second, second.to(self.second)], dim=1)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return the product with an input: [..., D] -> [..., O]."""
        out: Tensor = _Product.apply(x, self.shape, *self.tensors)
        return out if bias is None else out + bias


@torch.no_grad()
def dequantize_nf4(tensors: Sequence[Tensor], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return the weight of `NF4Weight.tensors`, [O, D].

    Each rounded weight is a product in float32, which is then converted to `dtype`.
    """
    codes, scales, steps, mean, pairs, first, second = tensors
    sizes = steps.view(torch.float32).repeat_interleave(GROUP)[: len(scales)]
    sizes = torch.addcmul(mean.view(torch.float32), scales.float(), sizes)
    levels, at_once = pairs.view(torch.float32), _CHUNK // BLOCK
    out = torch.empty(len(codes), BLOCK, dtype=dtype, device=codes.device)
    for start in range(0, len(codes), at_once):
        part = slice(start, start + at_once)
        values = F.embedding(codes[part].int(), levels).view(-1, BLOCK)
        out[part] = values.mul_(sizes[part, None])
    weight = out.view(-1)[: shape[0] * shape[1]].view(shape)
    return weight.addmm_(second.to(dtype), first.to(dtype)) if len(first) else weight


class _Product(torch.autograd.Function):
    """A product with a weight in 4 bits. Its derivative computes the weight again, so that none is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: tuple[int, int], *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.shape = shape
        return F.linear(x, dequantize_nf4(tensors, shape, x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        # Read once: a block that is computed again gives them once.
        tensors = ctx.saved_tensors
        weight = dequantize_nf4(tensors, ctx.shape, gradient.dtype)
        return gradient @ weight, None, *[None] * len(tensors)


# The weights in 4 bits of a model, by the names of their layers.
PackedWeights = Mapping[str, NF4Weight]


class NF4Linear(nn.Linear):
    """A frozen linear layer whose weight is in 4 bits. It has no parameter `weight`."""

    def __init__(self, packed: NF4Weight, bias: nn.Parameter | None) -> None:
        # On the meta device, so that no second weight is allocated.
        super().__init__(packed.shape[1], packed.shape[0], bias=False, device="meta")
        self.register_parameter("weight", None)
        self.register_parameter("bias", bias)
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output: [..., D] -> [..., O]."""
        out: Tensor = self.packed(x, self.bias)
        return out


def is_quantized(name: str) -> bool:
    """Return whether a weight of a model is one of those that are kept in 4 bits: the blocks' matrices."""
    return ".layers." in name and name.endswith("_proj.weight")


def nf4_bytes(rows: int, columns: int) -> int:
    """Return the bytes of a weight in 4 bits without a low-rank part."""
    with torch.device("meta"):
        packed = NF4Weight(rows, columns)
    return sum(buffer.numel() * buffer.element_size() for buffer in packed.buffers())


def packed_weight(layer: nn.Module) -> NF4Weight | None:
    """Return the weight of a layer in 4 bits; None if it is kept in full."""
    packed = getattr(layer, "packed", None)
    return packed if isinstance(packed, NF4Weight) else None


def packed_weights(model: nn.Module) -> Iterator[tuple[str, NF4Weight]]:
    """Yield the weights in 4 bits, by the names of their layers."""
    for name, module in model.named_modules():
        if (packed := packed_weight(module)) is not None:
            yield name, packed


def replace_layers(model: nn.Module, weights: PackedWeights) -> None:
    """Put weights in 4 bits in the places of linear layers, by the layers' names; biases stay.

    Raises:
        RuntimeError: The model has no such layer, or one of another shape.
    """
    for name, packed in weights.items():
        parent, _, last = name.rpartition(".")
        try:
            layer = model.get_submodule(name)
        except AttributeError as error:
            raise RuntimeError(f"unexpected weight\n{name}.weight") from error
        if not isinstance(layer, nn.Linear) or packed.shape != (layer.out_features, layer.in_features):
            raise RuntimeError(f"shapes\n{name}.weight has the shape {list(packed.shape)}")
        setattr(model.get_submodule(parent), last, NF4Linear(packed, layer.bias))


def quantize_layers(model: nn.Module) -> None:
    """Replace the layers of a model without values by layers in 4 bits, of the same shapes."""
    shapes = {
        name.removesuffix(".weight"): NF4Weight(*weight.shape)
        for name, weight in model.named_parameters()
        if is_quantized(name)
    }
    replace_layers(model, shapes)
