"""Answers and scores that are computed some rows at a time, so that long rows fit the memory."""

from __future__ import annotations

import pytest
import torch

from model.data import chunks
from model.data.dataloader import Example
from model.inference import generate
from model.inference.generate import generate_in_parts, rows_at_once
from model.inference.scoring import completion_logprobs
from model.nn import losses
from model.nn.losses import linear_logprobs
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from tests.model.conftest import small_shape

PROMPTS = [[5, 9, 3], [7], [1, 2, 3, 4, 8], [250, 9], [11, 12, 13, 14]]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer(small_shape()).init_weights(1)


def test_rows_at_once_bounds_keys_and_values() -> None:
    large = ModelConfig(
        vocab_size=32_000, num_layers=32, hidden_size=4096, num_heads=32, context_length=2048
    )  # fmt: skip
    a_row = 2 * 2 * 32 * 4096 * 2048
    assert rows_at_once(large, 2048) == generate.CACHE_BYTES // a_row == 3
    assert rows_at_once(large, 512) == 4 * generate.CACHE_BYTES // a_row
    # No row is longer than the context, and one row is always answered.
    assert rows_at_once(large, 10**6) == 3
    assert rows_at_once(ModelConfig(vocab_size=10, context_length=1 << 30), 1 << 30) == 1
    assert rows_at_once(small_shape(), 48) > 10_000


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_generate_in_parts_of_few_rows_gives_the_same_answers(
    rows: int, model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate_in_parts(model, PROMPTS, 6, 0, temperature=0.0)
    asked: list[int] = []
    once = generate.generate_tokens

    def counted(model: Transformer, prompts: list[list[int]], *given: int, **others: object) -> object:
        asked.append(len(prompts))
        return once(model, prompts, *given, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(generate, "generate_tokens", counted)
    # Prompts of at most 5 tokens with 6 of an answer.
    monkeypatch.setattr(generate, "CACHE_BYTES", rows * 2 * 2 * 2 * 32 * 11)
    assert generate_in_parts(model, PROMPTS, 6, 0, temperature=0.0) == whole
    assert max(asked) == rows and sum(asked) == len(PROMPTS)


@pytest.mark.parametrize("tokens", [1, 20, 1000])
def test_completion_logprobs_of_long_rows_are_the_same(
    tokens: int, model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [Example(prompt, [6, 2, 0]) for prompt in PROMPTS]
    whole = completion_logprobs(model, examples, 0)
    monkeypatch.setattr(chunks, "PASS_TOKENS", tokens)
    assert completion_logprobs(model, examples, 0) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("count", [0, 1, 8, 9, 40])
def test_linear_logprobs_off_the_cpu_without_gradients_take_chunks(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(count)
    hidden, weight = torch.randn(count, 16, generator=random), torch.randn(50, 16, generator=random)
    tokens = torch.randint(50, (count,), generator=random)
    right = linear_logprobs(hidden, weight, tokens, 0.7)
    # A GPU's form of the computation, on the CPU.
    monkeypatch.setattr(losses, "is_on_cpu", lambda tensor: False)
    monkeypatch.setattr(losses, "CHUNK_ROWS", 8)
    with torch.no_grad():
        chunked = linear_logprobs(hidden, weight, tokens, 0.7)
    assert chunked.shape == (count,)
    assert torch.allclose(chunked, right, atol=1e-5)
    assert torch.allclose(linear_logprobs(hidden, weight, tokens, 0.7), right, atol=1e-5)
