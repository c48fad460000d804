"""The losses of all trainings, as pure functions that reduce in float32.

Shapes: B rows, T tokens, P pairs, N positions, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.nn.chunked_loss import CHUNK_ROWS, ChunkedLoss
from model.nn.cpu_ops import NextTokenLoss, TokenLogprobs
from model.nn.meta_device import is_on_cpu


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats: logits [N, V], targets [N] (-100: ignored) -> scalar.

    Computed in float32: cross-entropy of bfloat16 logits returns a rounded loss.
    """
    return F.cross_entropy(logits.float(), targets, reduction="sum")


def linear_next_token_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return `next_token_loss` of the logits of hidden states, [N, D], under an output layer, [V, D]."""
    if not torch.is_grad_enabled():
        # A function of our own is asked for gradients of any weight that has them, also in an evaluation.
        weight = weight.detach()
    if not is_on_cpu(hidden):
        chunked: Tensor = ChunkedLoss.apply(hidden, weight, targets)
        return chunked
    learned = targets >= 0
    # Meta tensors have no values, so that all positions count.
    if not targets.is_meta and not learned.all():
        hidden, targets = hidden[learned], targets[learned]
    loss: Tensor = NextTokenLoss.apply(hidden, weight, targets)
    return loss


def linear_logprobs(hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the log-probability of each token, [N] float32.

    Args:
        hidden: The hidden states that predict the tokens, [N, D].
        weight: The output layer, [V, D].
        tokens: [N].
        temperature: The divisor of the logits.
    """
    if not is_on_cpu(hidden):
        # Without gradients no logits are kept, so they are in memory for some positions at a time.
        size = max(1, len(hidden)) if torch.is_grad_enabled() else CHUNK_ROWS
        parts = zip(hidden.split(size), tokens.split(size), strict=True)
        found = [token_logprobs(F.linear(part, weight).float() / temperature, own) for part, own in parts]
        return torch.cat(found)
    logprobs: Tensor = TokenLogprobs.apply(hidden, weight, tokens, temperature)
    return logprobs


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-probability of each token under its logits: [..., V], [...] -> [...] float32."""
    logits = logits.float()
    return logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def preference_loss(
    margins: Tensor, beta: float, kind: str, smoothing: float, probabilities: Tensor | None = None
) -> Tensor:
    """Return the summed loss of direct preference optimization: margins [P] -> scalar.

    Args:
        margins: The log-probability of the chosen answer less that of the rejected one, less the same
            difference under the reference.
        beta: The strength of the tie to the reference.
        kind: `sigmoid` (Rafailov et al., 2023, arXiv:2305.18290) or `ipo` (Azar et al., 2023,
            arXiv:2310.12036).
        smoothing: The share of wrong labels (Mitchell, A note on DPO with noisy preferences, 2023).
        probabilities: The probability that the chosen answer is better, [P]; None: all are 1.
    """
    margins = margins if margins.dtype == torch.float64 else margins.float()
    # A label that is wrong with some probability is one with the opposite margin by that share.
    turned = 0.0 if probabilities is None else 1 - probabilities.to(margins)
    if kind == "ipo":
        target = 1 / (2 * beta)
        return ((1 - turned) * (margins - target).square() + turned * (margins + target).square()).sum()
    right, wrong = F.logsigmoid(beta * margins), F.logsigmoid(-beta * margins)
    turned = smoothing + turned - 2 * smoothing * turned
    return -((1 - turned) * right + turned * wrong).sum()


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, probabilities: Tensor | None = None) -> Tensor:
    """Return the summed negative log-likelihood of preferences: scores [P], [P] -> scalar.

    For the difference d of the scores and the probability p that the chosen text is better, it is
    -(p log σ(d) + (1-p) log σ(-d)). A tie has p = 1/2. Bradley & Terry, Rank analysis of incomplete block
    designs, 1952; as a reward model's loss in Stiennon et al., Learning to summarize from human feedback,
    2020, arXiv:2009.01325.

    Args:
        chosen: The scores of the better texts.
        rejected: The scores of the others.
        probabilities: The probability that the chosen text is better, [P]; None: all are 1.
    """
    margins = rejected.float() - chosen.float()
    losses = F.softplus(margins)
    if probabilities is not None:
        # As log σ(-d) = log σ(d) - d. Where p is 1, nothing is added, so the loss keeps its bits.
        losses = losses - (1 - probabilities) * margins
    return losses.sum()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where the mask is 1."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten_values(values: Tensor, mask: Tensor, keep_mean: bool = False) -> Tensor:
    """Return values scaled to deviation 1 over the masked tokens, with mean 0 unless `keep_mean`."""
    # Over all masked tokens of the batch, so that padding has no part in the statistics.
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened + mean if keep_mean else whitened) * mask


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, [B, T] each, by GAE (Schulman et al., 2015, arXiv:1506.02438).

    Args:
        rewards: [B, T].
        values: [B, T].
        mask: [B, T], 1 on real tokens. Rows are right-padded, so nothing follows a completion's last token.
        gamma: The discount of later rewards.
        gae_lambda: The decay of the estimates' trace (lambda).
    """
    if not is_on_cpu(rewards):
        advantages = _summed_advantages(rewards, values, mask, gamma, gae_lambda)
        return advantages, (advantages + values) * mask
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    advantages = torch.zeros_like(rewards)
    # Backwards: each advantage contains the discounted one after it.
    for t in range(rewards.shape[1] - 1, -1, -1):
        real = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = (delta + gamma * gae_lambda * following) * real
        next_value = values[:, t] * real
        advantages[:, t] = following
    return advantages, (advantages + values) * mask


def _summed_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Return the advantages of `generalized_advantages` by one product.

    A loop over the tokens takes eight kernels for each. Rows are right-padded, so the errors after a row's
    end are zero, and an advantage is the discounted sum of the errors from its token on.
    """
    following = F.pad((values * mask)[:, 1:], (0, 1))
    errors = (rewards + gamma * following - values) * mask
    places = torch.arange(rewards.shape[1], device=rewards.device)
    later = (places.unsqueeze(1) - places).to(rewards.dtype)
    # [T, T]: row s has the factors with which error s enters the advantages at and before it.
    factors = torch.where(later >= 0, (gamma * gae_lambda) ** later.clamp(min=0), 0.0)
    return (errors @ factors) * mask


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """Return the summed clipped surrogate loss and the number of clipped tokens, both scalars.

    Schulman et al., Proximal policy optimization, 2017, arXiv:1707.06347, equation 7.

    Args:
        logprobs: Log-probabilities of the tokens under the policy, [B, T].
        old_logprobs: The same under the policy that drew them, [B, T].
        advantages: [B, T].
        mask: [B, T], 1 on real tokens.
        clip: The largest change of a probability ratio that is learned from.
    """
    # Masked before exp: padding can hold differences that overflow.
    ratio = torch.exp((logprobs - old_logprobs) * mask)
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return (torch.maximum(plain, clipped) * mask).sum(), ((clipped > plain).float() * mask).sum()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Return half the summed squared error, the larger of clipped and plain, as a scalar.

    The clip is that of OpenAI's baselines (Huang et al., The 37 implementation details of proximal policy
    optimization, 2022).

    Args:
        values: Values of the tokens, [B, T].
        old_values: The values when the tokens were drawn, [B, T].
        returns: The targets, [B, T].
        mask: [B, T], 1 on real tokens.
        clip: The largest change of a value that is learned from.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * (torch.maximum((values - returns) ** 2, (clipped - returns) ** 2) * mask).sum()
