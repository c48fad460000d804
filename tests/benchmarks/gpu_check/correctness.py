"""The check's first parts: the device computes what a CPU computes in float32, and what transformers does."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from model.data.hf_checkpoint import save_model
from model.data.tokenizer import train_tokenizer
from model.inference.generate import generate_tokens
from model.nn.losses import linear_logprobs, linear_next_token_loss
from model.nn.ops import find_document_kernel
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype, compute_repeatably
from model.training.loop_config import LoopParameters
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.reward import RewardModel
from model.training.supervised import supervised_update
from tests.benchmarks.gpu_check.rows import Row, Size, peak_memory

# The most that a figure may differ from the CPU's in float32, as a share of the largest one.
NOISE = {torch.float32: 1e-3, torch.bfloat16: 0.12}
ROWS = 4
DOCUMENTS = 3
CURVE_STEPS = 20


def make_model(size: Size) -> Transformer:
    """Return the compared model on the CPU in float32; its distributions are as sharp as a trained one's."""
    model = Transformer(size.compared).init_weights(1)
    with torch.no_grad():
        # Random weights give nearly equal logits and scores of attention, which would hide errors.
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.mul_(6 if "embed_tokens" in name else 4)
    return model.eval()


def draw_batch(size: Size) -> tuple[Tensor, Tensor]:
    """Return tokens and the documents that they belong to, [ROWS, T] each."""
    random = torch.Generator().manual_seed(0)
    shape = (ROWS, size.compared.context_length)
    tokens = torch.randint(3, size.compared.vocab_size, shape, generator=random)
    return tokens, torch.sort(torch.randint(DOCUMENTS, shape, generator=random), 1).values


def put(model: torch.nn.Module, device: str, dtype: torch.dtype) -> Any:
    """Return a copy of a model on the device in a type."""
    return copy.deepcopy(model).to(device, dtype)


def difference(found: Tensor, right: Tensor) -> float:
    """Return the norm of the difference as a share of the norm of the right values."""
    found, right = found.detach().double().cpu(), right.detach().double().cpu()
    return ((found - right).norm() / right.norm()).item()


def dtypes(device: str) -> list[torch.dtype]:
    """Return float32 and the type in which trainings compute, each once."""
    return list(dict.fromkeys((torch.float32, compute_dtype(device))))


def name_of(dtype: torch.dtype) -> str:
    """Return a type's name without its module."""
    return str(dtype).removeprefix("torch.")


def check_logits(size: Size, device: str) -> Iterator[Row]:
    """Compare logits and gradients with the CPU's, of whole rows and of packed documents."""
    model = make_model(size)
    tokens, documents = draw_batch(size)
    for kind, given in (("", None), ("packed ", documents)):
        right = logits_and_gradients(model, tokens, given)
        for dtype in dtypes(device):
            there = None if given is None else given.to(device)
            found = logits_and_gradients(put(model, device, dtype), tokens.to(device), there)
            for what, one, other in zip(("logits", "gradients"), found, right, strict=True):
                yield Row(
                    f"{kind}{what}, {name_of(dtype)}: difference from the CPU",
                    difference(one, other),
                    most=NOISE[dtype],
                )


def packed_inputs(model: Transformer, documents: Tensor | None) -> dict[str, Tensor]:
    """Return the argument that keeps attention inside documents, as trainings on this device choose it."""
    if documents is None:
        return {}
    like = model.output_weight
    if not find_document_kernel(like.device.type, like.dtype, model.architecture.head_dim):
        return {"documents": documents}
    counts = torch.stack([(documents == number).sum(1) for number in range(DOCUMENTS)], 1)
    return {"stops": counts.cumsum(1)}


def logits_and_gradients(
    model: Transformer, tokens: Tensor, documents: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the logits of tokens, and all gradients of their loss one after the other."""
    # A copy has the gradients of its original.
    model.zero_grad()
    bounds = packed_inputs(model, None if documents is None else documents[:, :-1])
    hidden = model(tokens[:, :-1], **bounds)
    flat = hidden.flatten(0, 1)
    loss = linear_next_token_loss(flat, model.output_weight, tokens[:, 1:].flatten())
    (loss / tokens[:, 1:].numel()).backward()
    gradients = [p.grad.flatten().float() for p in model.parameters() if p.grad is not None]
    return model.compute_logits(hidden).float(), torch.cat(gradients)


def check_packed_rows(size: Size, device: str) -> Iterator[Row]:
    """Compare documents that share a row with the same documents in rows of their own."""
    tokens, documents = (part.to(device) for part in draw_batch(size))
    for dtype in dtypes(device):
        model = put(make_model(size), device, dtype)
        with torch.no_grad():
            packed = model(tokens, **packed_inputs(model, documents))
            # Positions count only by their distances, so a document alone has the same states.
            worst = max(
                difference(packed[row][own], model(tokens[row][own][None])[0])
                for row in range(ROWS)
                for own in (documents[row] == number for number in range(DOCUMENTS))
                if own.any()
            )
        yield Row(
            f"packed documents, {name_of(dtype)}: difference from rows of their own", worst,
            most=NOISE[dtype],
        )  # fmt: skip


def check_sampler(size: Size, device: str) -> Iterator[Row]:
    """Compare drawn tokens with the CPU's, and their log-probabilities with those of a training pass."""
    model, tokens = make_model(size), draw_batch(size)[0]
    there = put(model, device, torch.float32)
    prompts = [tokens[row, : 5 + 3 * row].tolist() for row in range(ROWS)]
    # Long enough that a GPU records a step and repeats it.
    new = size.compared.context_length // 2
    for name, heat in (("greedy", 0.0), ("sampled", 1.0)):
        right, found = (
            generate_tokens(one, prompts, new, end=0, temperature=heat, seed=3) for one in (model, there)
        )
        same = (right.tokens == found.tokens).float().mean().item()
        yield Row(f"{name} tokens equal to the CPU's, float32", same, least=0.9)
    worst = 0.0
    for prompt, row, length, logprobs in zip(
        prompts, found.tokens, found.lengths.tolist(), found.logprobs, strict=True
    ):
        whole = torch.tensor([*prompt, *row[:length].tolist()], device=device)
        with torch.no_grad():
            hidden = there(whole[None, :-1])[0, len(prompt) - 1 :]
            passed = linear_logprobs(hidden, there.output_weight, whole[len(prompt) :])
        worst = max(worst, (passed.cpu() - logprobs[:length]).abs().max().item())
    yield Row("sampler's log-probabilities against a training pass, float32", worst, "nats", most=0.01)


def check_reward(size: Size, device: str) -> Iterator[Row]:
    """Compare the scores of a reward model with the CPU's."""
    tokens = draw_batch(size)[0].repeat(8, 1)
    rows = [row[: 3 + 5 * (n % 9)] for n, row in enumerate(tokens.tolist())]
    ender: Any = SimpleNamespace(end=0)
    model = RewardModel(make_model(size), ender)
    right = model.score_rows(rows)
    for dtype in dtypes(device):
        found = put(model, device, dtype).score_rows(rows)
        yield Row(
            f"reward scores, {name_of(dtype)}: difference from the CPU", difference(found, right),
            most=NOISE[dtype],
        )  # fmt: skip


def check_curve(size: Size, device: str) -> Iterator[Row]:
    """Compare the losses of twenty training steps with the CPU's."""
    compute_repeatably()
    tokens = draw_batch(size)[0]
    right = training_curve(size, tokens, "cpu", torch.float32)
    for dtype in dtypes(device):
        found = training_curve(size, tokens, device, dtype)
        worst = max(abs(one - other) / other for one, other in zip(found, right, strict=True))
        yield Row(
            f"losses of {CURVE_STEPS} steps, {name_of(dtype)}: difference from the CPU", worst,
            most=NOISE[dtype],
        )  # fmt: skip
    yield peak_memory(device)


def training_curve(size: Size, tokens: Tensor, device: str, dtype: torch.dtype) -> list[float]:
    """Return the losses of some steps on one batch."""
    model = Transformer(size.compared).init_weights(1)
    optimizer = OptimizerParameters(learning_rate=0.003, muon_learning_rate=0.02)
    learner = MixedPrecisionOptimizer(model, optimizer, dtype, ProcessGroup(device=device))
    parameters = LoopParameters(steps=CURVE_STEPS, micro_batch_size=2, optimizer=optimizer)
    x = tokens.to(device)

    def loss(part: slice) -> Tensor:
        hidden = model(x[part, :-1]).flatten(0, 1)
        return linear_next_token_loss(hidden, model.output_weight, x[part, 1:].flatten())

    weight = float(x[:, 1:].numel())
    return [
        supervised_update(learner, parameters, step, len(x), weight, loss)["loss"]
        for step in range(CURVE_STEPS)
    ]


def check_transformers(size: Size, device: str) -> Iterator[Row]:
    """Compare logits with those of transformers, which loads the exported model."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, tokens = make_model(size), draw_batch(size)[0].to(device)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        save_model(model, train_tokenizer(["the film is good and bad "] * 50, 262), Path(folder))
        there = put(model, device, torch.float32)
        peer = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        right, found = peer(tokens).logits, there.compute_logits(there(tokens))
    yield Row(
        "logits, float32: difference from transformers", difference(found, right), most=NOISE[torch.float32]
    )
