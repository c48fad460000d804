"""The loss of a GPU, computed in chunks: equal to cross-entropy, in less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.nn import chunked_loss, cpu_ops
from model.nn.chunked_loss import ChunkedLoss
from model.nn.losses import (
    _summed_advantages,
    generalized_advantages,
    linear_next_token_loss,
    next_token_loss,
)
from model.nn.meta_device import stand_for
from model.nn.peak_memory import PeakMemory
from model.nn.transformer import Transformer
from tests.benchmarks.gpu_check.rows import WHOLE


def inputs(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(count)
    hidden, weight = torch.randn(count, 16, generator=random), torch.randn(50, 16, generator=random)
    targets = torch.randint(50, (count,), generator=random)
    targets[torch.rand(count, generator=random) < 0.3] = -100
    return hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), targets


@pytest.mark.parametrize("count", [1, 7, 8, 30])
@pytest.mark.parametrize(
    ("dtype", "noise"), [(torch.float64, 1e-6), (torch.float32, 1e-5), (torch.bfloat16, 0.02)]
)
def test_chunked_loss_equals_cross_entropy(
    count: int, dtype: torch.dtype, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK_ROWS", 8)
    found = []
    for loss_of in (ChunkedLoss.apply, lambda h, w, t: next_token_loss(F.linear(h, w), t)):
        hidden, weight, targets = inputs(count, dtype)
        loss = loss_of(hidden, weight, targets)
        # As in a step, whose losses are divided by the tokens of the batch.
        (loss / 300_000).backward()
        found.append((loss.detach().float(), hidden.grad, weight.grad))
    for chunked, plain in zip(*found, strict=True):
        assert chunked is not None and plain is not None and chunked.dtype == plain.dtype
        assert (chunked - plain).norm() <= noise * plain.norm()
    assert bool((found[0][1][targets < 0] == 0).all())


@pytest.mark.parametrize("frozen", ["hidden", "weight", "both"])
def test_chunked_loss_of_frozen_inputs_has_the_other_gradient(frozen: str) -> None:
    hidden, weight, targets = inputs(20, torch.float32)
    ChunkedLoss.apply(hidden, weight, targets).backward()
    right = {"hidden": hidden.grad, "weight": weight.grad}
    hidden, weight, targets = inputs(20, torch.float32)
    parts = {"hidden": hidden, "weight": weight}
    for name, part in parts.items():
        part.requires_grad_(frozen not in (name, "both"))
    loss = ChunkedLoss.apply(hidden, weight, targets)
    assert loss.requires_grad == (frozen != "both")
    if loss.requires_grad:
        loss.backward()
    for name, part in parts.items():
        if frozen in (name, "both"):
            assert part.grad is None
        else:
            assert torch.equal(part.grad, right[name])


def test_linear_next_token_loss_off_the_cpu_compiles_to_one_graph() -> None:
    graphs: list[Any] = []

    def keep(graph: Any, given: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(linear_next_token_loss, backend=keep, fullgraph=True)
    for _ in range(2):
        hidden, weight = (torch.zeros(n, 16, device="meta", requires_grad=True) for n in (20_000, 50))
        loss = compiled(hidden, weight, torch.zeros(20_000, dtype=torch.int64, device="meta"))
        loss.backward()
        assert loss.dtype == torch.float32 and weight.grad is not None
    assert len(graphs) == 1


def test_training_pass_with_chunked_loss_takes_half_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for chunk in (1 << 30, chunked_loss.CHUNK_ROWS):
        monkeypatch.setattr(chunked_loss, "CHUNK_ROWS", chunk)
        with stand_for("cuda"):
            model = Transformer(WHOLE.trained).to(torch.bfloat16)
            tokens = torch.zeros(64, 1024, dtype=torch.int64)
            with PeakMemory() as memory:
                hidden = model(tokens).flatten(0, 1)
                linear_next_token_loss(hidden, model.output_weight, tokens.flatten()).backward()
        found.append(memory.peak / 1e9)
    assert found[1] < 45 and found[0] > 65, found


@pytest.mark.parametrize(("gamma", "decay"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.0, 0.95)])
def test_summed_advantages_equal_the_loop(gamma: float, decay: float) -> None:
    random = torch.Generator().manual_seed(1)
    rewards, values = torch.randn(6, 30, generator=random), torch.randn(6, 30, generator=random)
    lengths = torch.tensor([30, 1, 0, 17, 29, 5])
    mask = (torch.arange(30) < lengths.unsqueeze(1)).float()
    right, _ = generalized_advantages(rewards, values, mask, gamma, decay)
    found = _summed_advantages(rewards, values, mask, gamma, decay)
    assert torch.allclose(found, right, atol=1e-4)
    assert right.abs().max() > 0.5


@pytest.mark.parametrize("function", [ChunkedLoss, cpu_ops.NextTokenLoss])
def test_linear_next_token_loss_of_an_evaluation_computes_no_gradients(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = []
    original = function.forward

    def forward(ctx: Any, *given: Tensor) -> Tensor:
        wanted.append(any(ctx.needs_input_grad))
        return original(ctx, *given)

    monkeypatch.setattr(function, "forward", staticmethod(forward))
    device = "meta" if function is ChunkedLoss else "cpu"
    hidden, weight, targets = (part.detach().to(device) for part in inputs(20, torch.float32))
    weight.requires_grad_()
    linear_next_token_loss(hidden, weight, targets)
    with torch.no_grad():
        linear_next_token_loss(hidden, weight, targets)
    assert wanted == [True, False]
