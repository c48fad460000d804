"""AdamW, with the moments of each weight in float32 or in 8 bits.

Loshchilov & Hutter, Decoupled weight decay regularization, 2017, arXiv:1711.05101; Dettmers et al., 8-bit
optimizers via block-wise quantization, 2021, arXiv:2110.02861.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.training.optimizer_config import OptimizerParameters

BLOCK_SIZE = 256
# Weights that are updated at once: more need more memory for their moments in float32.
_CHUNK = 1 << 22
_DECADES = 7
# The bits of a number in float32 by which its code is found: sign, exponent and 9 bits of the fraction.
_UNREAD_BITS, _KEY_MASK = 14, (1 << 18) - 1


class AdamW:
    """AdamW by torch's fused kernel.

    `torch.optim.AdamW` gives the same bits. Its first use imports torch's compiler, which takes 1.6 s in each
    process of each training.

    Attributes:
        moments: The tensors of the moments by name, one a weight. Each has the rows of its weight, so that
            processes can share them.
    """

    EPSILON = 1e-8

    def __init__(self, weights: list[Tensor], parameters: OptimizerParameters) -> None:
        self.weights = weights
        self.betas = parameters.beta1, parameters.beta2
        self.weight_decay = parameters.weight_decay
        self.moments = self._make_moments()
        # One count a weight: a weight without a gradient takes no step.
        self.steps = [torch.zeros((), device=weight.device) for weight in weights]

    def _make_moments(self) -> dict[str, list[Tensor]]:
        return {name: [torch.zeros_like(weight) for weight in self.weights] for name in ("first", "second")}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Take one step on the gradients that the weights hold."""
        learning = [i for i, weight in enumerate(self.weights) if weight.grad is not None]
        if learning:
            torch._foreach_add_([self.steps[i] for i in learning], 1)
        # Gains and biases are not decayed.
        for decay, chosen in (
            (self.weight_decay, [i for i in learning if self.weights[i].ndim >= 2]),
            (0.0, [i for i in learning if self.weights[i].ndim < 2]),
        ):
            if chosen:
                self._update(chosen, learning_rate, decay)

    def _update(self, chosen: list[int], learning_rate: float, decay: float) -> None:
        """Update some of the weights."""
        weights, first, second, steps = (
            [every[i] for i in chosen]
            for every in (self.weights, self.moments["first"], self.moments["second"], self.steps)
        )
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        self._run_kernel(weights, gradients, first, second, steps, learning_rate, decay)

    def _run_kernel(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        first: list[Tensor],
        second: list[Tensor],
        steps: list[Tensor],
        learning_rate: float,
        decay: float,
    ) -> None:
        torch._fused_adamw_(
            weights, gradients, first, second, [], steps,
            lr=learning_rate, beta1=self.betas[0], beta2=self.betas[1], weight_decay=decay,
            eps=self.EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return the moments and the counts of steps."""
        return {**self.moments, "steps": self.steps}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Restore the values of `state_dict`."""
        for name, mine in self.state_dict().items():
            torch._foreach_copy_(mine, state[name])


class AdamW8Bit(AdamW):
    """AdamW with the moments of matrices in 8 bits: 2.03 bytes a weight in place of 8.

    A moment is a code a weight, and a scale for each `BLOCK_SIZE` weights of a row. Blocks end with their
    row, so that processes can share the rows of a matrix in any number. Gains and biases have moments in
    float32.
    """

    def _make_moments(self) -> dict[str, list[Tensor]]:
        moments: dict[str, list[Tensor]] = {}
        for name in ("first", "second"):
            zeros = [_zero_moment(weight, name == "first") for weight in self.weights]
            moments |= {
                name: [codes for codes, _ in zeros],
                f"{name}_scales": [scales for _, scales in zeros],
            }
        return moments

    def _update(self, chosen: list[int], learning_rate: float, decay: float) -> None:
        vectors = [i for i in chosen if self.weights[i].ndim < 2]
        if vectors:
            super()._update(vectors, learning_rate, decay)
        for i in chosen:
            weight = self.weights[i]
            if weight.ndim < 2 or not weight.numel():
                continue
            for part in range(0, len(weight), rows := max(1, _CHUNK // weight[0].numel())):
                self._update_rows(i, slice(part, part + rows), learning_rate, decay)

    def _update_rows(self, i: int, rows: slice, learning_rate: float, decay: float) -> None:
        """Update rows of a matrix, with their moments in float32 meanwhile."""
        weight, gradient = self.weights[i], self.weights[i].grad
        assert gradient is not None
        stored = [
            (self.moments[name][i][rows], self.moments[f"{name}_scales"][i][rows], name == "first")
            for name in ("first", "second")
        ]
        first, second = (dequantize_moment(*each) for each in stored)
        self._run_kernel(
            [weight[rows]], [gradient[rows]], [first], [second], [self.steps[i]], learning_rate, decay
        )
        for moment, (codes, scales, signed) in zip((first, second), stored, strict=True):
            new_codes, new_scales = quantize_moment(moment, signed)
            codes.copy_(new_codes)
            scales.copy_(new_scales)


def make_adamw(weights: list[Tensor], parameters: OptimizerParameters) -> AdamW:
    """Return AdamW for weights, with moments of the number of bits that the parameters name."""
    return (AdamW8Bit if parameters.adamw_bits == 8 else AdamW)(weights, parameters)


def moment_bytes(shape: tuple[int, ...], bits: int) -> int:
    """Return the bytes of both moments of a weight."""
    numel = torch.Size(shape).numel()
    if bits == 32 or len(shape) < 2:
        return 8 * numel
    return 2 * (numel + 4 * (numel // shape[-1]) * _count_blocks(shape[-1]))


def quantize_moment(moment: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Return the codes and the scales of a moment: [rows, columns] -> the same, and [rows, blocks]."""
    rows, columns = moment.shape
    blocks = _count_blocks(columns)
    padded = F.pad(moment, (0, blocks * BLOCK_SIZE - columns)) if columns % BLOCK_SIZE else moment
    values = padded.reshape(rows, blocks, BLOCK_SIZE)
    scales = values.abs().amax(dim=2)
    # A block of zeros has no scale.
    shares = (values / scales.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(2)).flatten()
    table = _code_table(signed, str(moment.device))
    codes = table.codes.index_select(0, (shares.view(torch.int32) >> _UNREAD_BITS) & _KEY_MASK).int()
    codes += shares > table.middles.index_select(0, codes)
    if not signed:
        # Adam divides by the root of the second moment: rounded to 0, it would make a step without bound.
        codes = torch.maximum(codes, (shares > 0).int())
    return codes.view(rows, -1)[:, :columns].to(torch.uint8), scales


def dequantize_moment(codes: Tensor, scales: Tensor, signed: bool) -> Tensor:
    """Return a moment in float32 from its codes and scales."""
    rows, columns = codes.shape
    values = _code_table(signed, str(codes.device)).values.index_select(0, codes.int().flatten())
    return values.view(rows, columns).mul_(scales.repeat_interleave(BLOCK_SIZE, dim=1)[:, :columns])


def _zero_moment(weight: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Return the codes and the scales of a moment of zeros."""
    if weight.ndim < 2:
        return torch.zeros_like(weight), weight.new_zeros((len(weight), 0))
    zero = _code_values(signed).index(0.0)
    scales = weight.new_zeros((len(weight), _count_blocks(weight.shape[1])))
    return torch.full_like(weight, zero, dtype=torch.uint8), scales


def _count_blocks(columns: int) -> int:
    return -(-columns // BLOCK_SIZE)


class _CodeTable(NamedTuple):
    """The values of the codes, and what finds the code of a number.

    Attributes:
        values: [256] in ascending order.
        middles: [256], the middle between each value and the next one; the last is infinite.
        codes: [2 ** 18] uint8: for all numbers of which the upper 18 bits are the index, the code of the
            smallest. The others have the same code or the next one.
    """

    values: Tensor
    middles: Tensor
    codes: Tensor


@cache
def _code_table(signed: bool, device: str) -> _CodeTable:
    """Return the codes of a moment. On a CPU, they are found in a tenth of the time of `torch.bucketize`."""
    values = torch.tensor(_code_values(signed))
    middles = torch.cat([(values[1:] + values[:-1]) / 2, torch.tensor([torch.inf])])
    first = torch.arange(_KEY_MASK + 1, dtype=torch.int64) << _UNREAD_BITS
    ends = [bits.to(torch.int32).view(torch.float32) for bits in (first, first | (1 << _UNREAD_BITS) - 1)]
    codes = torch.bucketize(torch.minimum(*ends), middles[:-1])
    return _CodeTable(*(each.to(device) for each in (values, middles, codes.to(torch.uint8))))


def _code_values(signed: bool) -> list[float]:
    """Return the 256 values of the codes in ascending order: the paper's dynamic tree, section 1.3.

    Each decade from 1e-6 to 1 has twice as many values as the one below, so that small values keep their
    order of magnitude and large ones two digits.
    """
    found = [0.0, 1.0]
    for decade in range(_DECADES):
        count = 2**decade if signed else 2 ** (decade + 1)
        edges = [0.1 + 0.9 * i / count for i in range(count + 1)]
        values = [
            (low + high) / 2 * 10.0 ** (decade - _DECADES + 1) for low, high in itertools.pairwise(edges)
        ]
        found += values + [-value for value in values] if signed else values
    return sorted(found)
