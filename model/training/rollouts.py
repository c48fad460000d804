"""A policy with a value head, and its answers: the data of one step of reinforcement learning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.nn.transformer import Transformer


class ActorCritic(nn.Module):
    """A policy with a value of each token from the same trunk; the value head starts at zero."""

    def __init__(self, body: Transformer) -> None:
        super().__init__()
        self.body = body
        self.value = nn.Linear(body.architecture.hidden_size, 1)
        # With zero values the first advantages come from the rewards alone.
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, N, V] and values [B, N] at `positions` [B, N] of right-padded rows [B, T]."""
        hidden = gather_positions(self.body(tokens), positions)
        return self.body.compute_logits(hidden), self.value(hidden).squeeze(-1).float()


def gather_positions(hidden: Tensor, positions: Tensor) -> Tensor:
    """Return the hidden states at positions: [B, T, D] at [B, N] -> [B, N, D]."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def completion_positions(prompt_lengths: Tensor, new_tokens: int, width: int) -> Tensor:
    """Return the positions that predict each completion token, [B, new_tokens], clamped to the row."""
    steps = torch.arange(new_tokens, device=prompt_lengths.device)
    return (prompt_lengths.unsqueeze(1) - 1 + steps).clamp(max=width - 1)


@dataclass
class Rollouts:
    """The answers of one step, all processes' rows in order.

    Shapes: B rows, T tokens a row, N tokens a completion.
    """

    tokens: Tensor  # [B, T] prompt and completion, right-padded
    positions: Tensor  # [B, N] where the completion is predicted
    completions: Tensor  # [B, N]
    mask: Tensor  # [B, N] 1 on real tokens, the end token among them
    logprobs: Tensor  # [B, N] under the policy that answered
    reference: Tensor  # [B, N] log-probabilities under the assistant it started as
    values: Tensor  # [B, N]
    scores: Tensor  # [B] of the reward model
    ended: Tensor  # [B] 1 where the answer ended by itself

    def token_kl(self) -> Tensor:
        """Return log π/π₀ of each token, [B, N]; the sum of a row estimates its completion's KL in nats."""
        return (self.logprobs - self.reference) * self.mask

    def rollout_metrics(self) -> dict[str, float]:
        """Return mean reward, KL in nats a completion, length in tokens, shares ended and distinct."""
        lengths = self.mask.sum(1).long().tolist()
        rows = {tuple(row[:n]) for row, n in zip(self.completions.tolist(), lengths, strict=True)}
        return {
            "reward": self.scores.mean().item(),
            "kl": self.token_kl().sum(1).mean().item(),
            "length": self.mask.sum(1).mean().item(),
            "ends_by_itself": self.ended.mean().item(),
            "distinct": len(rows) / len(lengths),
        }
