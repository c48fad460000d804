"""Operations of the transformer, each in the form that is fastest on its device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.nn.cpu_ops import AttentionFunction, RMSNormFunction

# Rows up to this length attend by two products in float32 too; longer ones would need too much memory.
SHORT_ROW = 256


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """Return x / rms(x) · gain over the last dimension: [..., D] -> [..., D]."""
    if x.device.type != "cpu":
        return F.rms_norm(x, gain.shape, gain, eps)
    normed: Tensor = RMSNormFunction.apply(x, gain, eps)
    return normed


def apply_rotary(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Return queries or keys rotated by the angles of their positions (Su et al., 2021, arXiv:2104.09864).

    Args:
        x: [B, H, T, head].
        cosines: [T, head/2], or [B, 1, 1, head/2] if each row has its own position.
        sines: As `cosines`.
    """
    first, second = x.chunk(2, dim=-1)
    # In the layout of x and without addcmul: other forms are many times slower in bfloat16 on a CPU.
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


def attends_by_products(like: Tensor, length: int) -> bool:
    """Return whether rows of `length` tokens attend by `cpu_attention`, on the device and dtype of `like`."""
    return like.device.type == "cpu" and (like.dtype == torch.bfloat16 or length <= SHORT_ROW)


def cpu_attention(
    projected: Tensor, cosines: Tensor, sines: Tensor, mask: Tensor, heads: int, scale: float
) -> Tensor:
    """Return the joined heads' outputs with rotary positions; arguments as in `AttentionFunction`."""
    mixed: Tensor = AttentionFunction.apply(projected, cosines, sines, mask, heads, scale)
    return mixed


def causal_mask(length: int, documents: Tensor | None, like: Tensor, window: int = 0) -> Tensor | None:
    """Return the additive attention mask, [1 or B, 1, T, T]: 0 where attention is allowed, -inf elsewhere.

    None if `scaled_attention` is causal by itself. Every token may attend to itself, so no row is empty.

    Args:
        length: T.
        documents: [B, T], the document of each token; attention stays inside a document. None: one document.
        like: A tensor with the dtype and device of the mask.
        window: The number of tokens that a token sees, itself included; 0: no limit.
    """
    limited = 0 < window < length
    if documents is None and not limited and not attends_by_products(like, length):
        return None
    allowed = torch.ones(length, length, dtype=torch.bool, device=like.device).tril()
    if limited:
        allowed = allowed.triu(1 - window)
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


def scaled_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Return the attention of queries on keys and values, [B, H, T, head].

    Args:
        queries: [B, H, T, head].
        keys, values: [B, K, S, head]; each is shared by H / K heads.
        mask: Added to the scores, of a shape that broadcasts to [B, H, T, S]; None: causal attention.
        scale: The factor of the scores.
    """
    grouped = keys.shape[1] < queries.shape[1]
    if grouped and queries.device.type == "cpu":
        keys, values = (
            part.repeat_interleave(queries.shape[1] // part.shape[1], 1) for part in (keys, values)
        )
    products = queries.dtype == torch.bfloat16 or queries.shape[2] == 1
    if mask is None or queries.device.type != "cpu" or not products:
        return F.scaled_dot_product_attention(
            queries, keys, values, mask, is_causal=mask is None, scale=scale,
            # A GPU's kernels share keys by themselves: copies of them would cost memory and time.
            enable_gqa=grouped and queries.device.type != "cpu",
        )  # fmt: skip
    rows, heads, length, head = queries.shape
    flat = rows * heads
    queries, keys, values = (part.reshape(flat, -1, head) for part in (queries, keys, values))
    if mask.shape[0] > 1:
        mask = mask.expand(rows, heads, length, keys.shape[1]).reshape(flat, length, -1)
    else:
        mask = mask[0]
    # Two explicit products: on a CPU torch's fused attention is slower in bfloat16, and for a single query.
    scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view(rows, heads, length, head)
