"""The sampler, compared with the whole model token by token."""

from __future__ import annotations

import pytest
import torch

from model.data.dataloader import pad_rows
from model.errors import UserError
from model.inference.generate import filter_logprobs, generate_tokens, sample_tokens
from model.nn.losses import token_logprobs
from model.nn.transformer import Transformer
from tests.model.conftest import small_shape

END = 0
PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16], [3, 4]]


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def model(request: pytest.FixtureRequest) -> Transformer:
    architecture = small_shape(
        vocab_size=40, num_heads=4, num_kv_heads=2, context_length=32, tie_embeddings=False
    )
    made = Transformer(architecture).init_weights(3)
    with torch.no_grad():
        made.lm_head.weight.mul_(12)
    return made.to(request.param)


def uncached(model: Transformer, prompt: list[int], new_tokens: int, uniforms: torch.Tensor) -> list[int]:
    row = list(prompt)
    for step in range(new_tokens):
        with torch.no_grad():
            scores = model.compute_logits(model(torch.tensor([row])))[:, -1].float()
        token, _ = sample_tokens(scores, uniforms[step : step + 1], torch.ones(1))
        row.append(int(token))
        if row[-1] == END:
            break
    return row[len(prompt) :]


def test_generate_tokens_with_cache_equals_whole_model(model: Transformer) -> None:
    uniforms = torch.rand(len(PROMPTS), 20, generator=torch.Generator().manual_seed(5))
    got = generate_tokens(model, PROMPTS, 20, END, uniforms=uniforms)
    rows = [row[:n].tolist() for row, n in zip(got.tokens, got.lengths, strict=True)]
    wanted = [uncached(model, prompt, 20, uniforms[b]) for b, prompt in enumerate(PROMPTS)]
    if next(model.parameters()).dtype == torch.float32:
        assert rows == wanted
    else:
        # bfloat16 rounds a batch and a single row differently, so a draw near a border may differ.
        assert sum(a == b for a, b in zip(rows, wanted, strict=True)) >= 3


def test_generate_tokens_logprobs_equal_training_logprobs(model: Transformer) -> None:
    got = generate_tokens(model, PROMPTS, 20, END, seed=2, temperature=0.7)
    rows = [[*p, *t[:n].tolist()] for p, t, n in zip(PROMPTS, got.tokens, got.lengths, strict=True)]
    tokens, _ = pad_rows(rows, END)
    with torch.no_grad():
        logits = model.compute_logits(model(tokens[:, :-1])).float() / 0.7
    logprobs = token_logprobs(logits, tokens[:, 1:])
    exact = next(model.parameters()).dtype == torch.float32
    for b, (prompt, length) in enumerate(zip(PROMPTS, got.lengths.tolist(), strict=True)):
        trained = logprobs[b, len(prompt) - 1 : len(prompt) - 1 + length]
        torch.testing.assert_close(got.logprobs[b, :length], trained, atol=1e-4 if exact else 0.15, rtol=0.02)


def test_generate_tokens_rows_stay_ended_after_end_token(model: Transformer) -> None:
    got = generate_tokens(model, [[5]] * 64, 25, END, seed=1)
    assert 0 < got.ended.sum() < 64
    for row, length, ended in zip(got.tokens.tolist(), got.lengths.tolist(), got.ended.tolist(), strict=True):
        assert (END in row[:length]) == ended
        assert row[length - 1] == END if ended else length == 25
        assert all(token == END for token in row[length:])
        assert END not in row[: length - 1]
    assert got.logprobs[torch.arange(25) >= got.lengths.unsqueeze(1)].abs().sum() == 0


def test_generate_tokens_depends_only_on_seed(model: Transformer) -> None:
    one, same, other = (generate_tokens(model, PROMPTS, 12, END, seed=seed).tokens for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_generate_tokens_applies_temperature_per_row(model: Transformer) -> None:
    prompts = [[5, 6, 7]] * 2
    rows = generate_tokens(model, prompts, 12, END, temperature=torch.tensor([0.0, 1.5]), seed=4).tokens
    greedy = generate_tokens(model, prompts, 12, END, temperature=0.0, seed=9).tokens
    assert torch.equal(rows[0], greedy[0]) and not torch.equal(rows[1], greedy[1])


def test_sample_tokens_follows_distribution() -> None:
    scores = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    drawn, logp = sample_tokens(scores, uniforms, torch.ones(20_000))
    shares = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.01, rtol=0)
    torch.testing.assert_close(logp, scores.gather(1, drawn.unsqueeze(1)).squeeze(1))


def test_filter_logprobs_applies_top_k_top_p_and_forbid() -> None:
    logp = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()

    def kept(top_k: int = 0, top_p: float = 1.0, forbid: tuple[int, ...] = ()) -> list[bool]:
        return (filter_logprobs(logp, top_k, top_p, forbid)[0] > float("-inf")).tolist()

    assert kept(top_k=2) == [True, True, False, False]
    assert kept(top_p=0.6) == [True, True, False, False]
    assert kept(top_p=0.01) == [True, False, False, False]
    assert kept(forbid=(0, 3)) == [False, True, True, False]


def test_sample_tokens_uniform_of_one_stays_within_allowed() -> None:
    scores = torch.tensor([[5.0, 1.0, -40.0, float("-inf")]])
    token, _ = sample_tokens(scores, torch.tensor([1.0]), torch.ones(1))
    assert int(token) < 3


def test_generate_tokens_stops_at_context_end(model: Transformer) -> None:
    got = generate_tokens(model, [[5] * 30, [5]], 100, END, forbid=(END,), seed=0)
    assert got.lengths.tolist() == [2, 31]


@pytest.mark.parametrize("prompt", [[1] * 32, []])
def test_generate_tokens_prompt_without_room_is_refused(model: Transformer, prompt: list[int]) -> None:
    with pytest.raises(UserError, match="prompt"):
        generate_tokens(model, [prompt, [1]], 4, END)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_generate_tokens_on_gpu_equals_cpu() -> None:
    architecture = small_shape(
        vocab_size=64, hidden_size=64, num_heads=4, num_kv_heads=2, context_length=128, tie_embeddings=False
    )
    cpu, gpu = (Transformer(architecture).init_weights(3) for _ in range(2))
    with torch.no_grad():
        for model in (cpu, gpu):
            model.lm_head.weight.mul_(6)
    prompts = [[5 + b % 50] * (1 + b % 7) for b in range(48)]
    wanted, got = (generate_tokens(model, prompts, 90, END, seed=1) for model in (cpu, gpu.to("cuda")))
    assert 0 < wanted.ended.sum() < 48
    assert torch.equal(got.lengths, wanted.lengths) and torch.equal(got.tokens, wanted.tokens)
    torch.testing.assert_close(got.logprobs, wanted.logprobs, atol=1e-3, rtol=1e-3)
    again = generate_tokens(gpu, prompts, 90, END, seed=1)
    assert torch.equal(again.logprobs, got.logprobs)
