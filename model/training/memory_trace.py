"""The memory of the phases of a training, from the tensors that its own code makes on the meta device.

Nothing is computed, and no weight is loaded. The rows fill the context, so that no data needs more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from model.data.token_layout import TokenLayout
from model.inference.generate import sample_tokens
from model.nn.lora import attach_adapter
from model.nn.losses import linear_logprobs, linear_next_token_loss
from model.nn.meta_device import stand_for
from model.nn.model_config import ModelConfig
from model.nn.nf4 import quantize_layers
from model.nn.peak_memory import PeakMemory, tensor_bytes
from model.nn.transformer import KVCache, Transformer
from model.training.lora_config import LoRAParameters
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.reward import PASS_ROWS
from model.training.rollouts import ActorCritic, LaidOutAnswers

# The fewest parts and micro-batches after which the memory no longer grows: a second one is added to the sum
# of the first.
_REPEATS = 2


@dataclass(frozen=True)
class Passes:
    """The passes of one process in an optimizer step, and in the phases around it.

    Attributes:
        kind: The training: pretrain, sft, reward, ppo or dpo.
        rows: The rows of the context in one pass with gradients.
        repeats: The number of such passes in a step.
        parts: The number of sums of gradients in a step.
        answer_tokens: The most tokens of an answer, for ppo.
        sampled_rows: The prompts that are answered at once; 0: none.
        new_tokens: The most tokens of each sampled answer.
        evaluated_rows: The rows of one pass without gradients.
        recomputes: Whether each block is computed again in the backward pass.
    """

    kind: str
    rows: int
    repeats: int = 1
    parts: int = 1
    answer_tokens: int = 0
    sampled_rows: int = 0
    new_tokens: int = 0
    evaluated_rows: int = 0
    recomputes: bool = False


@dataclass(frozen=True)
class Phases:
    """Bytes of one process.

    Attributes:
        weights: The module in the type of the arithmetic, with its tables of positions.
        optimizer: The float32 weights that learn, and their moments.
        checkpoint: What a checkpoint holds of the optimizer.
        reading: The most that the making of the optimizer adds to the weights and the optimizer.
        learning: The most that the passes of a step add: activations, logits and gradients.
        sampling: The most that the sampling of answers adds: keys, values, joined weights and logits.
        evaluating: The most that a pass without gradients adds.
    """

    weights: int
    optimizer: int
    checkpoint: int
    reading: int
    learning: int
    sampling: int
    evaluating: int


class _ScoredBody(nn.Module):
    """A transformer with one score a row, as in model/training/reward.py."""

    def __init__(self, body: Transformer) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(body.architecture.hidden_size, 1)


def trace_training(
    architecture: ModelConfig,
    passes: Passes,
    lora: LoRAParameters,
    optimizer: OptimizerParameters,
    dtype: torch.dtype,
    device: str,
    sharded: bool = False,
) -> Phases:
    """Return the memory of a training's phases.

    Args:
        architecture: The model, with the context of the training.
        passes: The passes of a process.
        lora: The adapter; with rank 0 all weights learn.
        optimizer: The optimizers' parameters.
        dtype: The type of the arithmetic.
        device: "cpu" or "cuda".
        sharded: Whether the processes share the weights. Weights, optimizer and sums of gradients are then
            left out, as each process holds only its own rows of them.
    """
    with stand_for(device):
        module, body = _make_module(architecture, passes.kind, lora, dtype)
    body.recomputes = passes.recomputes
    with stand_for(device), PeakMemory() as memory:
        held = [*module.parameters(), *module.buffers()]
        if sharded:
            module.to(dtype)
            learner = None
            memory.ignore([*module.parameters(), *module.buffers()])
            for weight in module.parameters():
                if weight.requires_grad:
                    weight.register_post_accumulate_grad_hook(_forget_gradient)
        else:
            memory.add(held)
            world = ProcessGroup(device="meta", parts=passes.parts)
            learner = MixedPrecisionOptimizer(module, optimizer, dtype, world)
        del held
        weights = checkpoint = 0
        if learner is not None:
            weights = tensor_bytes([*module.parameters(), *module.buffers()])
            checkpoint = tensor_bytes(each for each in tree_leaves(learner.state_dict()))
        state = memory.live
        reading = memory.peak - state
        found = []
        run = _Run(module, body, architecture, passes)
        for phase in (partial(run.learn, learner), run.sample, run.evaluate):
            memory.restart()
            phase()
            found.append(memory.peak - state)
    return Phases(weights, state - weights, checkpoint, reading, *found)


@dataclass(frozen=True)
class AnsweringPhases:
    """Bytes of one process that answers and scores with a model that does not learn.

    Attributes:
        weights: The module in the type of the arithmetic, with its tables of positions.
        sampling: The most that the sampling of answers adds: keys, values and logits.
        evaluating: The most that a pass without gradients adds.
    """

    weights: int
    sampling: int
    evaluating: int


def trace_answering(
    architecture: ModelConfig, passes: Passes, dtype: torch.dtype, device: str
) -> AnsweringPhases:
    """Return the memory of the phases of a model that answers and scores.

    Args:
        architecture: The model.
        passes: The passes of a process, those with gradients left out.
        dtype: The type of the arithmetic.
        device: "cpu" or "cuda".
    """
    with stand_for(device):
        body = Transformer(architecture).to(dtype).requires_grad_(False)
    with stand_for(device), PeakMemory() as memory:
        memory.add([*body.parameters(), *body.buffers()])
        state = memory.live
        run = _Run(body, body, architecture, passes)
        found = []
        for phase in (run.sample, run.evaluate):
            memory.restart()
            phase()
            found.append(memory.peak - state)
    return AnsweringPhases(state, *found)


def _make_module(
    architecture: ModelConfig, kind: str, lora: LoRAParameters, dtype: torch.dtype
) -> tuple[nn.Module, Transformer]:
    """Return a training's module and the transformer in it, as they are before their optimizer is made."""
    body = Transformer(architecture)
    if lora.is_quantized:
        quantize_layers(body)
    if lora.rank:
        attach_adapter(body, "learned", lora.rank, lora.alpha, lora.target_modules, seed=0)
        if kind == "sft":
            body.train_new_rows()
    for weight in body.parameters():
        if not weight.requires_grad:
            weight.data = weight.data.to(dtype)
    wrap: Callable[[Transformer], nn.Module] = {"ppo": ActorCritic, "reward": _ScoredBody}.get(
        kind, lambda same: same
    )
    return wrap(body), body


def _forget_gradient(weight: Tensor) -> None:
    # A gradient of shared weights is sent to its owners when it is complete.
    weight.grad = None


class _Run:
    """The phases of a training on a module."""

    def __init__(
        self, module: nn.Module, body: Transformer, architecture: ModelConfig, passes: Passes
    ) -> None:
        self.module, self.body, self.passes = module, body, passes
        self.context = architecture.context_length

    def learn(self, learner: MixedPrecisionOptimizer | None) -> None:
        """Take a step."""
        passes = self.passes
        for _ in range(min(passes.parts, _REPEATS)):
            for _ in range(min(passes.repeats, _REPEATS)):
                self._loss().backward()  # type: ignore[no-untyped-call]
                if learner is not None:
                    learner.accumulate_grads()
            if learner is not None:
                learner.finish_part()
        if learner is None:
            return
        for master, gradient in zip(learner.masters, learner.gradient_sum.total(), strict=True):
            master.grad = gradient
        if learner.muon:
            learner.muon.step(0.0, 0.0)
        learner.zero_grad()

    @torch.no_grad()
    def sample(self) -> None:
        """Answer the prompts that are answered at once: read the prompts, and draw two tokens."""
        rows = self.passes.sampled_rows
        if not rows:
            return
        new = min(self.passes.new_tokens, self.context - 1)
        cache = KVCache(self.body, rows, self.context)
        prompts = torch.zeros(rows, self.context - new, dtype=torch.int64)
        uniforms, heat = torch.zeros(rows), torch.ones(rows)
        for tokens in (prompts, torch.zeros(rows, 1, dtype=torch.int64)):
            hidden = self.body(tokens, cache=cache)[:, -1]
            cache.lengths, cache.filled = torch.zeros(rows, dtype=torch.int64), True
            sample_tokens(self.body.compute_logits(hidden).float(), uniforms, heat, any_greedy=False)

    @torch.no_grad()
    def evaluate(self) -> None:
        """Make the largest pass without gradients."""
        if rows := self.passes.evaluated_rows:
            self._loss_of(rows)

    def _loss(self) -> Tensor:
        return self._loss_of(self.passes.rows)

    def _loss_of(self, rows: int) -> Tensor:
        """Return the loss of rows that fill the context."""
        kind, context = self.passes.kind, self.context
        tokens = torch.zeros(rows, context, dtype=torch.int64)
        if kind in ("pretrain", "sft"):
            # Packed rows hold several documents.
            documents = torch.zeros_like(tokens) if kind == "sft" else None
            hidden = self.body(tokens, documents=documents).flatten(0, 1)
            return linear_next_token_loss(hidden, self.body.output_weight, tokens.flatten())
        if isinstance(self.module, _ScoredBody):
            # The groups' texts go through the model in several passes, whose losses are added.
            parts = tokens.split(PASS_ROWS)
            scores = [self.module.head(self.body(part)[:, -1]).float().sum() for part in parts]
            return torch.stack(scores).sum()
        if isinstance(self.module, ActorCritic) and torch.is_grad_enabled():
            logprobs, values = self.module(self._answers(tokens), 1.0)
            return (logprobs + values).sum()
        hidden = self.body(tokens).flatten(0, 1)
        answered = torch.zeros(tokens.numel(), dtype=torch.int64)
        return linear_logprobs(hidden[answered], self.body.output_weight, answered).sum()

    def _answers(self, tokens: Tensor) -> LaidOutAnswers:
        """Return rows with answers of the most tokens as the input of PPO's passes."""
        rows = len(tokens)
        starts = torch.zeros(rows, dtype=torch.int64)
        answered = torch.zeros(rows * self.passes.answer_tokens, dtype=torch.int64)
        real = torch.ones(rows, self.passes.answer_tokens, dtype=torch.bool)
        return LaidOutAnswers(TokenLayout(tokens, None, starts, starts), real, answered, answered)
