"""Operations of the transformer, each in the form that is fastest on its device."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _FusedNorm(torch.autograd.Function):
    """RMSNorm with an explicit derivative: on a CPU `F.rms_norm` runs as a chain of small operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        normed, scale = _rms_normalize(x, eps)
        # The normed input is kept instead of x: the derivative needs it, and x can be freed.
        ctx.save_for_backward(normed, gain, scale)
        return normed * gain

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, gain, scale = ctx.saved_tensors
        (gradient,) = gradients
        weighted = gradient * gain
        along = torch.mul(weighted, normed).mean(-1, keepdim=True)
        width = gain.shape[0]
        for_gain = (gradient * normed).view(-1, width).sum(0)
        return weighted.sub_(normed * along).mul_(scale), for_gain, None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """Return x / rms(x) · gain over the last dimension: [..., D] -> [..., D]."""
    if x.device.type != "cpu":
        return F.rms_norm(x, gain.shape, gain, eps)
    if not torch.is_grad_enabled():
        return _rms_normalize(x, eps)[0] * gain
    return _FusedNorm.apply(x, gain, eps)


def _rms_normalize(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    # The norm accumulates in float32: squares of bfloat16 lose too many bits.
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale = (size.square_().div_(x.shape[-1]).add_(eps)).rsqrt_().to(x.dtype)
    return x * scale, scale


class _Rotation(torch.autograd.Function):
    """Rotary positions. The derivative of a rotation is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _rotate_halves(x, cosines, sines)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _rotate_halves(gradients[0], cosines, -sines), None, None


def _rotate_halves(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    # In the layout of x and without addcmul: other forms are many times slower in bfloat16 on a CPU.
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


def apply_rotary(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Return queries or keys rotated by the angles of their positions (Su et al., 2021, arXiv:2104.09864).

    Args:
        x: [B, H, T, head].
        cosines: [T, head/2], or [B, 1, 1, head/2] if each row has its own position.
        sines: As `cosines`.
    """
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return _rotate_halves(x, cosines, sines)
    return _Rotation.apply(x, cosines, sines)


def causal_mask(length: int, documents: Tensor | None, like: Tensor) -> Tensor | None:
    """Return the additive attention mask, [1 or B, 1, T, T]: 0 where attention is allowed, -inf elsewhere.

    None if `scaled_attention` is causal by itself. Every token may attend to itself, so no row is empty.

    Args:
        length: T.
        documents: [B, T], the document of each token; attention stays inside a document. None: one document.
        like: A tensor with the dtype and device of the mask.
    """
    if documents is None and not _by_products(like):
        return None
    allowed = torch.ones(length, length, dtype=torch.bool, device=like.device).tril()
    if documents is not None:
        allowed = allowed & (documents.unsqueeze(2) == documents.unsqueeze(1)).unsqueeze(1)
    else:
        allowed = allowed[None, None]
    return additive_mask(allowed, like)


def additive_mask(allowed: Tensor, like: Tensor) -> Tensor:
    """Return 0 where allowed and -inf elsewhere, in the dtype of `like`."""
    return torch.zeros(allowed.shape, dtype=like.dtype, device=like.device).masked_fill_(~allowed, -math.inf)


def prefix_sums(shares: Tensor) -> Tensor:
    """Return running sums over the last dimension of shares from 0 to 1.

    On a GPU, shares are first rounded down to multiples of 2⁻⁴⁰ and added as integers. A sum of floats there
    depends on the order in which the GPU's blocks run.
    """
    if shares.device.type == "cpu":
        return shares.cumsum(-1)
    return (shares.double() * 2**40).long().cumsum(-1) / 2**40


def scaled_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the attention of queries on keys and values, [B, H, T, head].

    Args:
        queries: [B, H, T, head].
        keys, values: [B, H, S, head].
        mask: Added to the scores, of a shape that broadcasts to [B, H, T, S]; None: causal attention.
    """
    if not _by_products(queries):
        return F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=mask is None)
    assert mask is not None
    rows, heads, length, head = queries.shape
    flat = rows * heads
    queries, keys, values = (part.reshape(flat, -1, head) for part in (queries, keys, values))
    if mask.shape[0] > 1:
        mask = mask.expand(rows, heads, length, keys.shape[1]).reshape(flat, length, -1)
    else:
        mask = mask[0]
    # Two explicit products: torch's fused attention is slower in bfloat16 on a CPU.
    scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=1 / math.sqrt(head))
    return torch.bmm(scores.softmax(-1), values).view(rows, heads, length, head)


def _by_products(like: Tensor) -> bool:
    return like.device.type == "cpu" and like.dtype == torch.bfloat16
