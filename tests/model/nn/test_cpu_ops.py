"""Each operation with an explicit derivative, compared with torch's automatic one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.nn.cpu_ops import LOGIT_ROWS, AttentionFunction, RMSNormFunction
from model.nn.losses import linear_logprobs, linear_next_token_loss
from model.nn.ops import additive_mask, apply_rotary

ROWS, LENGTH, SIZE, SCALE = 3, 10, 8, 0.3


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def plain_attention(projected: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor, heads: int) -> Tensor:
    kv_heads = (projected.shape[2] // SIZE - heads) // 2
    every = projected.view(ROWS, LENGTH, -1, SIZE).transpose(1, 2)
    queries, keys, values = every.split([heads, kv_heads, kv_heads], dim=1)
    queries, keys = apply_rotary(queries, *angles), apply_rotary(keys, *angles)
    keys, values = (part.repeat_interleave(heads // kv_heads, 1) for part in (keys, values))
    shares = (queries @ keys.mT * SCALE + mask).softmax(-1)
    return (shares @ values).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.bfloat16, 0.03)])
def test_attention_function_equals_plain_attention(
    heads: int, kv_heads: int, documents: bool, dtype: torch.dtype, most: float, random: torch.Generator
) -> None:
    width = (heads + 2 * kv_heads) * SIZE
    projected = torch.randn(ROWS, LENGTH, width, generator=random).double()
    turns = torch.arange(LENGTH).unsqueeze(1) * torch.tensor([1.0, 0.5, 0.1, 0.02])
    angles = turns.cos().double(), turns.sin().double()
    allowed = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()[None, None]
    if documents:
        numbers = torch.tensor([[0] * 4 + [1] * 6, [0] * 10, [0] * 7 + [1] * 3])
        allowed = allowed & (numbers[:, None, :, None] == numbers[:, None, None, :])
    mask = additive_mask(allowed, projected)
    direction = torch.randn(ROWS, LENGTH, heads * SIZE, generator=random).double()

    def result_of(function, cast: torch.dtype) -> tuple[Tensor, Tensor]:
        given = projected.to(cast).requires_grad_()
        out = function(given, tuple(part.to(cast) for part in angles), mask.to(cast), heads)
        return out, torch.autograd.grad(out, given, direction.to(cast))[0]

    expected = result_of(plain_attention, torch.float64)
    found = result_of(lambda x, a, m, h: AttentionFunction.apply(x, *a, m, h, SCALE), dtype)
    for one, other in zip(expected, found, strict=True):
        assert ((one - other).norm() / one.norm()).item() <= most


def test_rms_norm_function_has_right_derivative(random: torch.Generator) -> None:
    x = torch.randn(5, 6, generator=random).requires_grad_()
    gain = torch.randn(6, generator=random).requires_grad_()

    def norm(x: Tensor, gain: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gain

    found, expected = RMSNormFunction.apply(x, gain, 1e-5), norm(x, gain)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(
        *(torch.autograd.grad(out.sin().sum(), (x, gain)) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, LOGIT_ROWS, 2 * LOGIT_ROWS + 7])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_linear_next_token_loss_equals_cross_entropy(
    count: int, dtype: torch.dtype, most: float, random: torch.Generator
) -> None:
    hidden = torch.randn(count, 16, generator=random)
    weight = torch.randn(50, 16, generator=random) * 0.3
    targets = torch.randint(50, (count,), generator=random)
    targets[1::3] = -100
    compare_gradients(
        lambda h, w: linear_next_token_loss(h, w, targets) / 3,
        lambda h, w: F.cross_entropy(F.linear(h, w), targets, reduction="sum") / 3,
        hidden, weight, dtype, most,
    )  # fmt: skip


def test_linear_next_token_loss_of_no_target_is_zero(random: torch.Generator) -> None:
    hidden = torch.randn(4, 8, generator=random).requires_grad_()
    weight = torch.randn(10, 8, generator=random).requires_grad_()
    loss = linear_next_token_loss(hidden, weight, torch.full((4,), -100))
    loss.backward()
    assert loss.item() == 0 and hidden.grad is not None and not hidden.grad.any()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_linear_logprobs_equal_log_softmax(
    temperature: float, dtype: torch.dtype, most: float, random: torch.Generator
) -> None:
    count = LOGIT_ROWS + 9
    hidden = torch.randn(count, 16, generator=random)
    weight = torch.randn(50, 16, generator=random) * 0.3
    tokens = torch.randint(50, (count,), generator=random)
    places = torch.arange(count)
    compare_gradients(
        lambda h, w: linear_logprobs(h, w, tokens, temperature).tanh().sum(),
        lambda h, w: (F.linear(h, w) / temperature).log_softmax(-1)[places, tokens].tanh().sum(),
        hidden, weight, dtype, most,
    )  # fmt: skip


def compare_gradients(
    function, reference, hidden: Tensor, weight: Tensor, dtype: torch.dtype, most: float
) -> None:
    """Compare values and gradients with those of the reference in float64."""
    given = [part.to(dtype).requires_grad_() for part in (hidden, weight)]
    exact = [part.double().requires_grad_() for part in (hidden, weight)]
    found, expected = function(*given), reference(*exact)
    assert found.item() == pytest.approx(expected.item(), rel=most, abs=1e-6)
    for one, other in zip(
        torch.autograd.grad(expected, exact), torch.autograd.grad(found, given), strict=True
    ):
        assert ((one - other).norm() / (one.norm() + 1e-9)).item() <= most
