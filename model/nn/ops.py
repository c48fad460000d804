"""Operations of the transformer, each in the form that is fastest on its device."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.nn.cpu_ops import AttentionFunction, RMSNormFunction
from model.nn.meta_device import attend_as_kernel, is_on_cpu, is_traced

# Rows up to this length attend by two products in float32 too; longer ones would need too much memory.
SHORT_ROW = 256

# torch's kernel for documents that share rows; None: not looked for, or this torch has none.
_DOCUMENT_KERNEL: Callable[..., Any] | None = None


class PackedRows(NamedTuple):
    """The documents of packed rows, for a kernel that attends inside each of them.

    Attributes:
        offsets: [N + 1] int32, the documents' first tokens among all rows' tokens, and the end of the last.
        longest: The most tokens of a document.
        window: The number of tokens that a token sees, itself included; 0: no limit.
    """

    offsets: Tensor
    longest: int
    window: int


Mask = Tensor | PackedRows | None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """Return x / rms(x) · gain over the last dimension: [..., D] -> [..., D]."""
    if not is_on_cpu(x):
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
    return is_on_cpu(like) and (like.dtype == torch.bfloat16 or length <= SHORT_ROW)


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


def find_document_kernel(device: str, dtype: torch.dtype, head: int) -> bool:
    """Return whether `PackedRows` can stand for the mask of packed rows on a device.

    Dense masks exclude FlashAttention. The kernel takes bfloat16 on GPUs from Ampere (compute capability 8).

    Args:
        device: "cpu" or "cuda".
        dtype: The type in which the model computes.
        head: The width of a head.
    """
    global _DOCUMENT_KERNEL
    if device != "cuda" or dtype != torch.bfloat16 or head % 8 or head > 256:
        return False
    if torch.cuda.get_device_capability() < (8, 0):
        return False
    # Imported only here, as it imports torch's compiler; it is there since torch 2.10.
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    # Earlier versions lack some arguments.
    if not {"scale", "window_size", "enable_gqa"} <= set(inspect.signature(varlen_attn).parameters):
        return False
    _DOCUMENT_KERNEL = varlen_attn
    return True


def pack_rows(stops: Tensor, length: int, window: int = 0) -> PackedRows:
    """Return the documents of packed rows of `length` tokens.

    Args:
        stops: [B, M], the ends of each row's documents in the row. The last is `length`, and further ones are
            too: these documents are empty, so that every batch has a tensor of the same shape.
        length: T.
        window: As in `PackedRows`.
    """
    firsts = torch.arange(len(stops), device=stops.device).unsqueeze(1) * length
    ends = (stops + firsts).flatten()
    return PackedRows(torch.cat([ends.new_zeros(1), ends]).int(), length, window)


def _document_attention(
    queries: Tensor, keys: Tensor, values: Tensor, rows: PackedRows, scale: float
) -> Tensor:
    assert _DOCUMENT_KERNEL is not None
    flat = [part.transpose(1, 2).flatten(0, 1) for part in (queries, keys, values)]
    mixed = _DOCUMENT_KERNEL(
        *flat, rows.offsets, rows.offsets, rows.longest, rows.longest, scale=scale,
        # The kernel counts the tokens before; -1: all of them.
        window_size=(rows.window - 1, 0), enable_gqa=keys.shape[1] < queries.shape[1],
    )  # fmt: skip
    by_row: Tensor = mixed.unflatten(0, (queries.shape[0], queries.shape[2])).transpose(1, 2)
    return by_row


def additive_mask(allowed: Tensor, like: Tensor) -> Tensor:
    """Return 0 where allowed and -inf elsewhere, in the dtype of `like`."""
    return torch.zeros(allowed.shape, dtype=like.dtype, device=like.device).masked_fill_(~allowed, -math.inf)


def prefix_sums(shares: Tensor) -> Tensor:
    """Return running sums over the last dimension of shares from 0 to 1.

    On a GPU, shares are first rounded down to multiples of 2⁻⁴⁰ and added as integers. A sum of floats there
    depends on the order in which the GPU's blocks run.
    """
    if is_on_cpu(shares):
        return shares.cumsum(-1)
    return (shares.double() * 2**40).long().cumsum(-1) / 2**40


def scaled_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Mask, scale: float) -> Tensor:
    """Return the attention of queries on keys and values, [B, H, T, head].

    Args:
        queries: [B, H, T, head].
        keys, values: [B, K, S, head]; each is shared by H / K heads.
        mask: Added to the scores, of a shape that broadcasts to [B, H, T, S], or the documents of packed
            rows; None: causal attention.
        scale: The factor of the scores.
    """
    if isinstance(mask, PackedRows):
        return _document_attention(queries, keys, values, mask, scale)
    on_cpu = is_on_cpu(queries)
    grouped = keys.shape[1] < queries.shape[1]
    if grouped and on_cpu:
        keys, values = (
            part.repeat_interleave(queries.shape[1] // part.shape[1], 1) for part in (keys, values)
        )
    products = queries.dtype == torch.bfloat16 or queries.shape[2] == 1
    if is_traced(queries) and queries.shape[2] > 1 and not (on_cpu and products):
        return attend_as_kernel(queries, keys, values, scale)
    if mask is None or not on_cpu or not products:
        return F.scaled_dot_product_attention(
            queries, keys, values, mask, is_causal=mask is None, scale=scale,
            # A GPU's kernels share keys by themselves: copies of them would cost memory and time.
            enable_gqa=grouped and not on_cpu,
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
