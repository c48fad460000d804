"""Blocks that are computed again in the backward pass: equal gradients, and the memory that they save."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.nn.losses import linear_next_token_loss
from model.nn.meta_device import stand_for
from model.nn.model_config import ModelConfig
from model.nn.peak_memory import PeakMemory
from model.nn.transformer import Transformer
from tests.benchmarks.gpu_check.rows import WHOLE
from tests.model.conftest import small_shape


def gradients(model: Transformer, tokens: Tensor, documents: Tensor | None) -> list[Tensor]:
    model.zero_grad()
    hidden = model(tokens[:, :-1], documents=documents).flatten(0, 1)
    linear_next_token_loss(hidden, model.output_weight, tokens[:, 1:].flatten()).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "changes", [{}, {"num_kv_heads": 1, "qk_norm": "head"}, {"sliding_window": 8, "sliding_layers": (1,)}]
)
def test_forward_that_recomputes_gives_equal_gradients(
    changes: dict[str, Any], packed: bool, dtype: torch.dtype
) -> None:
    model = Transformer(small_shape(**changes)).init_weights(0).to(dtype)
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(300, (3, 41), generator=random)
    documents = torch.randint(3, (3, 40), generator=random).sort(1).values if packed else None
    kept = gradients(model, tokens, documents)
    model.recomputes = True
    again = gradients(model, tokens, documents)
    assert len(kept) == len(list(model.parameters()))
    assert all(map(torch.equal, again, kept))


def test_forward_that_recomputes_is_plain_without_gradients() -> None:
    model = Transformer(small_shape()).init_weights(0)
    model.recomputes = True
    calls = []
    model.model.layers[0].register_forward_hook(lambda *given: calls.append(1))
    with torch.no_grad():
        model(torch.zeros(1, 8, dtype=torch.int64))
    assert calls == [1]


# Gigabytes of a pass and its derivative without the output layer, in bfloat16: a 124M model with 64 rows of
# 1,024 tokens, and a 1B model with 8 rows of 2,048.
@pytest.mark.parametrize(
    ("shape", "rows", "kept", "again"),
    [
        (WHOLE.trained, 64, 34.9, 4.9),
        (
            ModelConfig(
                num_layers=16, hidden_size=2048, num_heads=32, num_kv_heads=8, intermediate_size=8192,
                context_length=2048, vocab_size=128256,
            ),
            8, 36.4, 6.5,
        ),
    ],
)  # fmt: skip
def test_forward_that_recomputes_takes_a_fraction_of_the_memory(
    shape: ModelConfig, rows: int, kept: float, again: float
) -> None:
    found = []
    for recomputes in (False, True):
        with stand_for("cuda"):
            model = Transformer(shape).to(torch.bfloat16)
            tokens = torch.zeros(rows, shape.context_length, dtype=torch.int64)
            model.recomputes = recomputes
            with PeakMemory() as memory:
                model(tokens).sum().backward()
        found.append(memory.peak / 1e9)
    assert found == [pytest.approx(kept, rel=0.03), pytest.approx(again, rel=0.03)]
