"""A policy with a value head, and its answers: the data of one step of reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn

from model.data.chunks import chunk_slices
from model.data.dataloader import pad_rows
from model.data.token_layout import TokenLayout, lay_out_rows
from model.inference.generate import Completions, generate_tokens
from model.nn.adapter_view import Body
from model.nn.losses import linear_logprobs, masked_mean
from model.nn.transformer import Transformer
from model.training.learner import Frozen
from model.training.ppo_config import PPOConfig

ScoreFunction = Callable[[Sequence[Sequence[int]]], Tensor]


class ActorCritic(nn.Module):
    """A policy with a value of each token from the same trunk; the value head starts at zero."""

    def __init__(self, body: Transformer) -> None:
        super().__init__()
        self.body = body
        self.value = nn.Linear(body.architecture.hidden_size, 1)
        # With zero values the first advantages come from the rewards alone.
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, answers: LaidOutAnswers, temperature: float) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and values of the answers' tokens, [M] float32 each."""
        hidden = answers.predicting_states(self.body)
        logprobs = linear_logprobs(hidden, self.body.output_weight, answers.targets, temperature)
        return logprobs, self.value(hidden).squeeze(-1).float()


@dataclass(frozen=True)
class LaidOutAnswers:
    """Prompts with their answers as the input of a pass, and the answers' M real tokens.

    Attributes:
        layout: The rows.
        real: [B, N], whether a token of an answer is real, not padding; M of them are.
        predicting: [M], the places in the layout where the answers' tokens are predicted.
        targets: [M], the answers' tokens.
    """

    layout: TokenLayout
    real: Tensor
    predicting: Tensor
    targets: Tensor

    def predicting_states(self, body: Body) -> Tensor:
        """Return the hidden states that predict the answers' tokens, [M, D]."""
        hidden: Tensor = body(self.layout.tokens, documents=self.layout.documents)
        return hidden.flatten(0, 1)[self.predicting]


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
    reference: Tensor  # [B, N] log-probabilities under the SFT model, as which the policy started
    values: Tensor  # [B, N]
    scores: Tensor  # [B] of the reward model
    ended: Tensor  # [B] 1 where the answer ended by itself

    def token_kl(self) -> Tensor:
        """Return log π/π₀ of each token, [B, N]; the sum of a row estimates its completion's KL in nats."""
        return (self.logprobs - self.reference) * self.mask

    def rollout_metrics(self) -> dict[str, float]:
        """Return mean reward, KL in nats a completion, length, shares ended and distinct, and entropy."""
        lengths = self.mask.sum(1).long().tolist()
        rows = {tuple(row[:n]) for row, n in zip(self.completions.tolist(), lengths, strict=True)}
        return {
            "reward": self.scores.mean().item(),
            "kl": self.token_kl().sum(1).mean().item(),
            "length": self.mask.sum(1).mean().item(),
            "ends_by_itself": self.ended.mean().item(),
            "distinct": len(rows) / len(lengths),
            # The draws' mean surprise estimates the entropy of the distributions that they come from.
            "entropy": -(masked_mean(self.logprobs, self.mask).item()),
        }


class RolloutCollector:
    """A policy that answers prompts, with the models that score its answers."""

    def __init__(
        self,
        parameters: PPOConfig,
        policy: Frozen,
        reference: Frozen,
        score: ScoreFunction,
        end: int,
        width: int,
        context: int,
        device: str,
    ) -> None:
        """Store the models and the sampling settings.

        Args:
            parameters: The sampling settings and the rows of one pass.
            policy: The policy with its value head, an ActorCritic.
            reference: The SFT model, as which the policy started.
            score: Returns the reward of each row of prompt and answer, [B].
            end: The end token.
            width: T, the longest prompt with its answer, in tokens.
            context: The longest context of the models, in tokens.
            device: The device of the models.
        """
        self.parameters, self.policy, self.reference, self.score = parameters, policy, reference, score
        self.end, self.width, self.context, self.device = end, width, context, device

    @torch.no_grad()
    def answer_prompts(self, prompts: list[list[int]], uniforms: Tensor) -> tuple[Tensor, ...]:
        """Answer and score the prompts; return the fields of Rollouts in order.

        Args:
            prompts: B rows of tokens.
            uniforms: [B, N], the random numbers that decide each draw.
        """
        settings, end, device = self.parameters, self.end, self.device
        # One model after the other: whole copies of them at once could exceed a device's memory.
        with self.policy.whole() as policy:
            answers = self._sample_answers(policy.body, prompts, uniforms)
            lengths = answers.lengths.tolist()
            rows = [
                [*prompt, *row[:length]]
                for prompt, row, length in zip(prompts, answers.tokens.tolist(), lengths, strict=True)
            ]
            tokens = pad_rows(rows, end, self.width)[0].to(device)
            completions = answers.tokens.to(device)
            prompt_lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
            positions = completion_positions(prompt_lengths, settings.max_new_tokens, self.width)
            steps = torch.arange(settings.max_new_tokens, device=device)
            mask = (steps < answers.lengths.to(device).unsqueeze(1)).float()
            logprobs, reference, values = (torch.zeros_like(mask) for _ in range(3))
            size = settings.micro_batch_size or settings.batch_size
            chunks = [
                (part, self._lay_out(tokens[part], positions[part], completions[part], mask[part]))
                for part in chunk_slices(slice(0, len(rows)), size)
            ]
            # Computed again by a training pass: the sampler's cached pass rounds differently.
            for part, laid_out in chunks:
                found = policy(laid_out, settings.temperature)
                logprobs[part][laid_out.real], values[part][laid_out.real] = found
        with self.reference.whole() as first:
            for part, laid_out in chunks:
                reference[part][laid_out.real] = linear_logprobs(
                    laid_out.predicting_states(first), first.output_weight, laid_out.targets,
                    settings.temperature,
                )  # fmt: skip
        scores = self.score(rows).to(device)
        ended = answers.ended.float().to(device)
        return tokens, positions, completions, mask, logprobs, reference, values, scores, ended

    def _sample_answers(self, model: Transformer, prompts: list[list[int]], uniforms: Tensor) -> Completions:
        """Return answers to all prompts, of which `sampling_batch_size` are answered at once."""
        settings = self.parameters
        answered = [
            generate_tokens(
                model, prompts[part], settings.max_new_tokens, self.end,
                temperature=settings.temperature, uniforms=uniforms[part],
            )
            for part in chunk_slices(slice(0, len(prompts)), settings.sampling_batch_size)
        ]  # fmt: skip
        return Completions(*(torch.cat(field) for field in zip(*map(astuple, answered), strict=True)))

    def lay_out(self, rollouts: Rollouts, rows: slice | Tensor) -> LaidOutAnswers:
        """Return some rows of rollouts as the input of a pass."""
        return self._lay_out(
            rollouts.tokens[rows], rollouts.positions[rows], rollouts.completions[rows], rollouts.mask[rows]
        )

    def _lay_out(
        self, tokens: Tensor, positions: Tensor, completions: Tensor, mask: Tensor
    ) -> LaidOutAnswers:
        real = mask.bool()
        # An answer's last token is only predicted.
        sizes = (positions[:, 0] + real.sum(1)).tolist()
        rows = [row[:size] for row, size in zip(tokens.tolist(), sizes, strict=True)]
        layout = lay_out_rows(rows, self.end, self.context, self.device)
        places = layout.starts.unsqueeze(1) + positions
        return LaidOutAnswers(layout, real, places[real], completions[real])
