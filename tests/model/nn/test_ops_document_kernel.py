"""Attention inside the documents of packed rows by a kernel: equal to that under a dense mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from model.data.dataloader import Example, PackedBatch
from model.nn import ops
from model.nn.losses import linear_next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.ops import find_document_kernel, pack_rows
from model.nn.transformer import Transformer
from tests.model.conftest import small_shape

WIDTH = 40


def attend_one_by_one(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int, *,
    scale: float, window_size: tuple[int, int], enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """Attend inside each document by itself: what the kernel does, which a CPU does not have."""
    assert cu_seq_q.dtype == torch.int32 and cu_seq_q[0] == 0 and cu_seq_q[-1] == len(query)
    parts = []
    for first, stop in zip(cu_seq_q[:-1].tolist(), cu_seq_k[1:].tolist(), strict=True):
        assert 0 <= stop - first <= max_q == max_k
        q, k, v = (part[first:stop].transpose(0, 1)[None] for part in (query, key, value))
        seen = torch.ones(stop - first, stop - first, dtype=torch.bool).tril()
        if window_size[0] >= 0:
            seen = seen.triu(-window_size[0])
        mixed = F.scaled_dot_product_attention(q, k, v, seen, scale=scale, enable_gqa=enable_gqa)
        parts.append(mixed[0].transpose(0, 1))
    return torch.cat(parts)


def packed(random: torch.Generator) -> PackedBatch:
    """Return three rows: a full one of one example, one of four with padding, and one of seven."""

    def example(length: int) -> Example:
        tokens = torch.randint(3, 300, (length,), generator=random).tolist()
        return Example(tokens[: length // 2], tokens[length // 2 :])

    lengths = ([WIDTH + 1], [9, 4, 12, 6], [3, 5, 8, 2, 6, 7, 10])
    return PackedBatch.from_rows([[example(n) for n in row] for row in lengths], WIDTH, 0, most=9)


def test_from_rows_stops_are_the_ends_of_the_documents() -> None:
    batch = packed(torch.Generator().manual_seed(0))
    assert batch.stops.shape == (3, 9)
    assert batch.stops[0].tolist() == [WIDTH] * 9
    assert batch.stops[1].tolist() == [8, 11, 22, 27, *[WIDTH] * 5]
    for row, stops in zip(batch.documents, batch.stops, strict=True):
        first = 0
        for stop in stops.tolist():
            assert len(set(row[first:stop].tolist())) <= 1
            first = stop
    offsets = pack_rows(batch.stops, WIDTH).offsets
    assert offsets.tolist()[:2] == [0, WIDTH] and int(offsets[-1]) == 3 * WIDTH and len(offsets) == 28
    assert bool((offsets.diff() >= 0).all())


SHAPES: dict[str, dict[str, Any]] = {
    "plain": {}, "grouped": {"num_heads": 4, "num_kv_heads": 2}, "normed": {"qk_norm": "head"},
    "window": {"sliding_window": 5, "sliding_layers": (0,)}, "scaled": {"query_scalar": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("recomputes", [False, True])
def test_forward_with_stops_equals_dense_mask(
    name: str, recomputes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops, "_DOCUMENT_KERNEL", attend_one_by_one)
    model = Transformer(small_shape(**SHAPES[name])).init_weights(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
    model.recomputes = recomputes
    batch = packed(torch.Generator().manual_seed(1))
    found = []
    for bounds in ({"documents": batch.documents}, {"stops": batch.stops}):
        model.zero_grad()
        hidden = model(batch.tokens, **bounds)
        linear_next_token_loss(hidden.flatten(0, 1), model.output_weight, batch.targets.flatten()).backward()
        found.append([hidden.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for dense, kernel in zip(*found, strict=True):
        assert torch.allclose(dense, kernel, atol=1e-5 * dense.abs().max().item())
    # Without the bounds the result differs, so the comparison above can fail.
    assert not torch.allclose(model(batch.tokens), found[0][0], atol=1e-3)


def test_forward_with_stops_fits_torchs_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_DOCUMENT_KERNEL", varlen_attn)
    shape = ModelConfig(
        num_layers=2, hidden_size=64, num_heads=4, num_kv_heads=2, context_length=WIDTH, vocab_size=300
    )
    with torch.device("meta"):
        model = Transformer(shape).to(torch.bfloat16)
        tokens, stops = torch.zeros(3, WIDTH, dtype=torch.int64), torch.zeros(3, 9, dtype=torch.int64)
    hidden = model(tokens, stops=stops)
    hidden.sum().backward()
    assert hidden.shape == (3, WIDTH, 64)
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_find_document_kernel_follows_device_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_DOCUMENT_KERNEL", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert not find_document_kernel("cpu", torch.bfloat16, 64)
    assert not find_document_kernel("cuda", torch.float32, 64)
    assert not find_document_kernel("cuda", torch.bfloat16, 60)
    assert ops._DOCUMENT_KERNEL is None
    assert find_document_kernel("cuda", torch.bfloat16, 64) and ops._DOCUMENT_KERNEL is varlen_attn
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert not find_document_kernel("cuda", torch.bfloat16, 64)
    # The kernel of torch 2.10 has neither windows nor a scale.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(
        "torch.nn.attention.varlen.varlen_attn",
        lambda query, key, value, cu_seq_q, cu_seq_k, is_causal: query,
    )
    assert not find_document_kernel("cuda", torch.bfloat16, 64)


def test_forward_with_stops_compiles_to_one_graph_for_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_DOCUMENT_KERNEL", varlen_attn)
    shape = ModelConfig(num_layers=1, hidden_size=16, num_heads=2, context_length=WIDTH, vocab_size=30)
    with torch.device("meta"):
        model = Transformer(shape).to(torch.bfloat16)
    graphs: list[Any] = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(
        lambda tokens, stops: model(tokens, stops=stops).sum(), backend=keep, fullgraph=True
    )
    for _ in range(3):
        tokens = torch.zeros(2, WIDTH, dtype=torch.int64, device="meta")
        compiled(tokens, torch.zeros(2, 9, dtype=torch.int64, device="meta"))
    assert len(graphs) == 1 and "_varlen_attn" in str(graphs[0].graph)
