"""Operations for a CPU with explicit derivatives.

Most of a small model's step on a CPU is not arithmetic: torch's automatic derivatives are chains of small
operations, and each of them reads and writes whole tensors. These functions need fewer.

Shapes: B rows, T tokens, D width, H query heads, K key heads, N positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Positions whose logits are computed at once. Their logits stay in the cache of a core.
LOGIT_ROWS = 256


class RMSNormFunction(torch.autograd.Function):
    """RMSNorm; `F.rms_norm` runs as a chain of small operations on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        """Return x / rms(x) · gain over the last dimension: [..., D] -> [..., D]."""
        # The norm accumulates in float32: squares of bfloat16 lose too many bits.
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = (size.square_().div_(x.shape[-1]).add_(eps)).rsqrt_().to(x.dtype)
        normed = x * scale
        # The normed input is kept instead of x: the derivative needs it, and x can be freed.
        ctx.save_for_backward(normed, gain, scale)
        return normed * gain

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Return the gradients of x and of the gain."""
        normed, gain, scale = ctx.saved_tensors
        (gradient,) = gradients
        weighted = gradient * gain
        along = torch.mul(weighted, normed).mean(-1, keepdim=True)
        width = gain.shape[0]
        for_gain = (gradient * normed).view(-1, width).sum(0) if ctx.needs_input_grad[1] else None
        return weighted.sub_(normed * along).mul_(scale), for_gain, None


class AttentionFunction(torch.autograd.Function):
    """Rotary positions and attention, from the joined projections to the joined heads."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, cosines: Tensor, sines: Tensor, mask: Tensor, heads: int, scale: float
    ) -> Tensor:
        """Return the heads' outputs, [B, T, H · head].

        Args:
            projected: Queries, keys and values of each token, [B, T, (H + 2K) · head].
            cosines: [T, head/2].
            sines: As `cosines`.
            mask: Added to the scores, [1 or B, 1, T, T].
            heads: H.
            scale: The factor of the scores.
        """
        rows, length, width = projected.shape
        size = 2 * cosines.shape[1]
        kv_heads = (width // size - heads) // 2
        turning = (heads + kv_heads) * size
        tables = _rotation_tables(cosines, sines, heads + kv_heads)
        turned = _rotate(projected[..., :turning], *tables, size)
        # The heads come first, so that each one's rows are a matrix without a copy of its own.
        by_head = turned.view(rows, length, -1, size).permute(2, 0, 1, 3).contiguous()
        values = projected[..., turning:].view(rows, length, kv_heads, size).permute(2, 0, 1, 3)
        queries = by_head[:heads].view(-1, length, size)
        keys, values = (
            _repeat_heads(part, heads).reshape(-1, length, size) for part in (by_head[heads:], values)
        )
        # Two explicit products: torch's fused attention is slower on a CPU at these lengths.
        shares = _scaled_product(queries, keys.mT, scale)
        shares.view(heads, rows, length, length).add_(mask.transpose(0, 1))
        torch.softmax(shares, -1, out=shares)
        ctx.save_for_backward(queries, keys, values, shares, *tables)
        ctx.heads, ctx.kv_heads, ctx.rows, ctx.scale = heads, kv_heads, rows, scale
        mixed = torch.bmm(shares, values).view(heads, rows, length, size)
        return mixed.permute(1, 2, 0, 3).reshape(rows, length, heads * size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        """Return the gradient of the joined projections."""
        queries, keys, values, shares, cosines, sines = ctx.saved_tensors
        heads, kv_heads, rows, scale = ctx.heads, ctx.kv_heads, ctx.rows, ctx.scale
        _, length, size = queries.shape
        mixed = gradients[0].view(rows, length, heads, size).permute(2, 0, 1, 3).reshape(-1, length, size)
        for_scores = torch.bmm(mixed, values.mT)
        for_scores = torch.ops.aten._softmax_backward_data(for_scores, shares, -1, shares.dtype)
        turning = (heads + kv_heads) * size
        result = mixed.new_empty(rows, length, turning + kv_heads * size)
        turned = mixed.new_empty(rows, length, heads + kv_heads, size)
        places = (
            (turned[:, :, :heads], _scaled_product(for_scores, keys, scale)),
            (turned[:, :, heads:], _scaled_product(for_scores.mT, queries, scale)),
            (result[..., turning:].view(rows, length, kv_heads, size), torch.bmm(shares.mT, mixed)),
        )
        for place, product in places:
            several = product.view(place.shape[2], -1, rows, length, size)
            # The heads that share a key add up.
            one = several[:, 0] if several.shape[1] == 1 else several.sum(1)
            place.copy_(one.permute(1, 2, 0, 3))
        # The derivative of a rotation is the rotation back.
        _rotate(turned.view(rows, length, turning), cosines, -sines, size, out=result[..., :turning])
        return result, None, None, None, None, None


def _rotation_tables(cosines: Tensor, sines: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Return factors of each number and of its partner, [T, heads · head] each: [T, head/2] -> tables."""
    return (
        torch.cat([cosines, cosines], -1).repeat(1, heads),
        torch.cat([-sines, sines], -1).repeat(1, heads),
    )


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor, size: int, out: Tensor | None = None) -> Tensor:
    """Return heads of width `size` rotated by the angles of their positions, [B, T, heads · size]."""
    halves = x.unflatten(-1, (-1, 2, size // 2))
    partners = torch.cat([halves[..., 1, :], halves[..., 0, :]], -1).flatten(2)
    return torch.mul(x, cosines, out=out).addcmul_(partners, sines)


def _repeat_heads(part: Tensor, heads: int) -> Tensor:
    """Return each key head as often as queries share it: [K, B, T, head] -> [H, B, T, head]."""
    return part if len(part) == heads else part.repeat_interleave(heads // len(part), 0)


def _scaled_product(first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Return the batched product times a scale, in one operation."""
    return torch.baddbmm(first.new_empty(1, 1, 1), first, second, beta=0, alpha=scale)


class NextTokenLoss(torch.autograd.Function):
    """The summed cross-entropy of hidden states, some positions at a time.

    The logits of all positions, [N, V], are never in memory at once. Their gradients are computed with the
    loss, while the logits are at hand.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Return the loss in nats, a float32 scalar: hidden [N, D], output layer [V, D], targets [N]."""
        learns = any(ctx.needs_input_grad)
        nats = torch.zeros((), device=hidden.device)
        gradients = _OutputGradients(hidden, weight, ctx.needs_input_grad[1]) if learns else None
        for part in _logit_chunks(len(hidden)):
            logprobs = _log_softmax(hidden[part], weight, 1.0)
            nats -= logprobs.gather(1, targets[part, None]).sum()
            if gradients:
                shares = logprobs.exp_()
                shares[torch.arange(len(shares), device=shares.device), targets[part]] -= 1
                gradients.add(part, shares)
        if gradients:
            ctx.save_for_backward(gradients.for_hidden, gradients.for_weight)
        return nats

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Return the gradients of the hidden states and of the output layer."""
        for_hidden, for_weight = ctx.saved_tensors
        scale = gradients[0]
        changed = None if for_weight is None else (for_weight * scale).to(for_hidden.dtype)
        return for_hidden * scale, changed, None


class TokenLogprobs(torch.autograd.Function):
    """Log-probabilities of tokens from hidden states, some positions at a time.

    The logits of all positions, [N, V], are never in memory at once. The derivative computes them again.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        """Return log-probabilities, [N] float32.

        Args:
            hidden: [N, D].
            weight: The output layer, [V, D].
            tokens: [N].
            temperature: The divisor of the logits.
        """
        found = torch.empty(len(hidden), device=hidden.device)
        for part in _logit_chunks(len(hidden)):
            logprobs = _log_softmax(hidden[part], weight, temperature)
            found[part] = logprobs.gather(1, tokens[part, None]).squeeze(1)
        ctx.save_for_backward(hidden, weight, tokens)
        ctx.temperature = temperature
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        """Return the gradients of the hidden states and of the output layer."""
        hidden, weight, tokens = ctx.saved_tensors
        scaled = gradients[0] / ctx.temperature
        result = _OutputGradients(hidden, weight, ctx.needs_input_grad[1])
        for part in _logit_chunks(len(hidden)):
            shares = _log_softmax(hidden[part], weight, ctx.temperature).exp_()
            shares.mul_(-scaled[part, None])
            shares[torch.arange(len(shares), device=shares.device), tokens[part]] += scaled[part]
            result.add(part, shares)
        changed = None if result.for_weight is None else result.for_weight.to(weight.dtype)
        return result.for_hidden, changed, None, None


class _OutputGradients:
    """The gradients of hidden states and of the output layer, from those of the logits of each part."""

    def __init__(self, hidden: Tensor, weight: Tensor, learns_weight: bool) -> None:
        self.hidden, self.weight = hidden, weight
        self.for_hidden = torch.empty_like(hidden)
        # In float32: the parts' sums would lose bits in bfloat16. None: the output layer is frozen.
        self.for_weight = torch.zeros(weight.shape, device=weight.device) if learns_weight else None

    def add(self, part: slice, for_logits: Tensor) -> None:
        for_logits = for_logits.to(self.weight.dtype)
        torch.mm(for_logits, self.weight, out=self.for_hidden[part])
        if self.for_weight is not None:
            self.for_weight += for_logits.mT @ self.hidden[part]


def _logit_chunks(count: int) -> list[slice]:
    return [slice(start, start + LOGIT_ROWS) for start in range(0, count, LOGIT_ROWS)]


def _log_softmax(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities of all tokens, [N, V] float32."""
    logits = F.linear(hidden, weight).float()
    if temperature != 1:
        logits.div_(temperature)
    return torch.log_softmax(logits, -1)
