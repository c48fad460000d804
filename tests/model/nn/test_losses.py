"""Each loss, compared with its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.nn.losses import (
    bradley_terry_loss,
    generalized_advantages,
    next_token_loss,
    policy_loss,
    preference_loss,
    token_logprobs,
    value_loss,
    whiten_values,
)


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_next_token_loss_is_reduced_in_float32(random: torch.Generator) -> None:
    logits = torch.randn(500, 64, generator=random).bfloat16()
    targets = torch.randint(64, (500,), generator=random)
    targets[::3] = -100
    expected = F.cross_entropy(logits.double(), targets, reduction="sum")
    assert next_token_loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_token_logprobs_equal_log_softmax(random: torch.Generator) -> None:
    logits = torch.randn(3, 5, 11, generator=random)
    tokens = torch.randint(11, (3, 5), generator=random)
    expected = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(token_logprobs(logits, tokens), expected)


def test_bradley_terry_loss_probabilities_equal_formula() -> None:
    chosen = torch.tensor([2.0, -1.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([1.0, 1.0, 0.5, -4.0], dtype=torch.float64)
    probabilities = torch.tensor([1.0, 0.7, 0.5, 0.5], dtype=torch.float64)
    right = torch.sigmoid(chosen - rejected)
    wanted = -(probabilities * right.log() + (1 - probabilities) * (1 - right).log()).sum()
    found = bradley_terry_loss(chosen, rejected, probabilities)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    [slope], [wanted_slope] = (torch.autograd.grad(loss, chosen) for loss in (found, wanted))
    torch.testing.assert_close(slope, wanted_slope, atol=1e-6, rtol=1e-5)
    # A tie pulls the two scores together: no other difference has a lower loss.
    differences = torch.linspace(-3, 3, 61)
    losses = [bradley_terry_loss(d[None], torch.zeros(1), torch.tensor([0.5])).item() for d in differences]
    assert differences[losses.index(min(losses))].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bradley_terry_loss_certain_labels_keep_their_bits(
    random: torch.Generator, dtype: torch.dtype
) -> None:
    chosen, rejected = (30 * torch.randn(2, 999, generator=random)).to(dtype)
    chosen.requires_grad_()
    plain, weighted = (
        bradley_terry_loss(chosen, rejected, certain) for certain in (None, torch.ones(len(chosen)))
    )
    assert torch.equal(plain, weighted)
    slopes = [torch.autograd.grad(loss, chosen)[0] for loss in (plain, weighted)]
    assert torch.equal(*slopes) and slopes[0].abs().max() > 0


def test_bradley_terry_loss_is_negative_log_likelihood() -> None:
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    likelihood = torch.sigmoid(chosen - rejected)
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(-likelihood.log().sum().item())


def test_whiten_values_uses_only_unmasked_tokens(random: torch.Generator) -> None:
    values = torch.randn(4, 6, generator=random) * 3 + 2
    mask = (torch.arange(6) < torch.tensor([[6], [3], [1], [4]])).float()
    values[mask == 0] = 1e6
    white, kept = whiten_values(values, mask), whiten_values(values, mask, keep_mean=True)
    real = white[mask == 1]
    assert real.mean().item() == pytest.approx(0, abs=1e-5)
    assert real.std(correction=0).item() == pytest.approx(1, rel=1e-4)
    assert kept[mask == 1].mean().item() == pytest.approx(values[mask == 1].mean().item(), rel=1e-4)
    assert white[mask == 0].abs().sum() == 0


def test_generalised_advantages_equal_discounted_sums(random: torch.Generator) -> None:
    rewards, values = torch.randn(2, 5, generator=random), torch.randn(2, 5, generator=random)
    mask = torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    rewards, values = rewards * mask, values * mask
    discount, trace = 0.9, 0.8
    advantages, returns = generalized_advantages(rewards, values, mask, discount, trace)
    for b, length in enumerate((5, 3)):
        for t in range(length):
            expected = 0.0
            for k in range(t, length):
                following = values[b, k + 1].item() if k + 1 < length else 0.0
                surprise = rewards[b, k].item() + discount * following - values[b, k].item()
                expected += (discount * trace) ** (k - t) * surprise
            assert advantages[b, t].item() == pytest.approx(expected, abs=1e-5)
            assert returns[b, t].item() == pytest.approx(expected + values[b, t].item(), abs=1e-5)
    assert advantages[1, 3:].abs().sum() == 0


def test_policy_loss_unchanged_policy_is_negative_advantage() -> None:
    logprobs, advantages = torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[0.5, -2.0, 7.0]])
    loss, clipped = policy_loss(logprobs, logprobs, advantages, torch.tensor([[1.0, 1.0, 0.0]]), 0.2)
    assert loss.item() == pytest.approx(1.5)
    assert clipped.item() == 0


def test_policy_loss_beyond_clip_has_no_gradient() -> None:
    old = torch.zeros(1, 2)
    new = torch.log(torch.tensor([[2.0, 0.1]])).requires_grad_()
    loss, clipped = policy_loss(new, old, torch.tensor([[1.0, -1.0]]), torch.ones(1, 2), 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(-1.2 + 0.8)
    assert clipped.item() == 2
    assert new.grad is not None and new.grad.abs().sum() == 0


def test_value_loss_takes_larger_of_clipped_and_plain() -> None:
    loss = value_loss(
        torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.ones(1, 1), 0.2
    )
    assert loss.item() == pytest.approx(0.5 * 0.8**2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_preference_loss_sigmoid_equals_formula(smoothing: float) -> None:
    margins = torch.tensor([-30.0, -1.0, 0.0, 2.0, 40.0], dtype=torch.float64, requires_grad=True)
    found = preference_loss(margins, 0.3, "sigmoid", smoothing)
    right = torch.sigmoid(0.3 * margins)
    wanted = -((1 - smoothing) * right.log() + smoothing * (1 - right).log()).sum()
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(lambda x: preference_loss(x, 0.3, "sigmoid", smoothing), (margins,))


def test_preference_loss_ipo_is_least_at_its_margin() -> None:
    margins = torch.linspace(0, 20, 201, dtype=torch.float64)
    losses = torch.stack([preference_loss(margin[None], 0.1, "ipo", 0.0) for margin in margins])
    assert margins[losses.argmin()].item() == pytest.approx(5.0) and losses.min().item() == pytest.approx(0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_preference_loss_probability_is_share_of_opposite_labels(kind: str, smoothing: float) -> None:
    margins = torch.tensor([-3.0, 0.0, 0.5, 4.0], dtype=torch.float64)
    one, other = (preference_loss(sign * margins, 0.3, kind, smoothing) for sign in (1, -1))
    probabilities = torch.full((4,), 0.7)
    found = preference_loss(margins, 0.3, kind, smoothing, probabilities)
    torch.testing.assert_close(found, 0.7 * one + 0.3 * other, rtol=1e-6, atol=1e-6)
    certain = preference_loss(margins, 0.3, kind, smoothing, torch.ones(4))
    assert torch.equal(certain, one)


def test_preference_loss_of_extreme_margins_is_finite() -> None:
    for margin in (-1e4, 1e4):
        assert preference_loss(torch.tensor([margin]), 0.1, "sigmoid", 0.0).isfinite()
