"""The check's speeds: training steps, sampling beside transformers, and a PPO step."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.data.dataloader import TokenFile, WindowOrder
from model.inference.generate import generate_tokens
from model.nn.lora import attach_adapter
from model.nn.losses import linear_next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.ops import find_document_kernel
from model.nn.transformer import Transformer
from model.training.batch_loader import BatchLoader
from model.training.devices import compute_dtype, compute_repeatably
from model.training.loop_config import LoopParameters
from model.training.lora_config import TARGET_MODULES
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.ppo import RATIO_NOISE_BFLOAT16, PPOConfig, PPOTrainer
from model.training.process_group import ProcessGroup
from model.training.supervised import supervised_update
from model.training.utilization import flops_per_token, flops_utilization
from tests.benchmarks.gpu_check.rows import Row, Size, finish, peak_memory, seconds_of

MUON = OptimizerParameters(learning_rate=0.003, muon_learning_rate=0.02)
# Documents of a packed row.
DOCUMENTS = 6


def measure_products(size: Size, device: str) -> Iterator[Row]:
    """Measure the speed of large matrix products in the trainings' type: the ceiling of all other figures."""
    width = 8192 if device == "cuda" else 512
    x = torch.randn(width, width, device=device, dtype=compute_dtype(device))
    seconds = seconds_of(device, lambda number: [x @ x for _ in range(10)], size.rounds, 2)
    yield Row(f"products of {width} by {width}", 10 * 2 * width**3 / seconds / 1e12, "TFLOP/s")


def measure_eager(size: Size, device: str) -> Iterator[Row]:
    """Measure a pretraining step without compilation."""
    yield from measure_step(size, device, "eager", compiled=False)


def measure_compiled(size: Size, device: str) -> Iterator[Row]:
    """Measure a pretraining step as trainings on a GPU run it."""
    yield from measure_step(size, device, "compiled", compiled=True)


def measure_batches(size: Size, device: str) -> Iterator[Row]:
    """Measure the host's time from the begin of a step to its first kernel: that of getting the batch."""
    context, rows = size.trained.context_length, 8 * size.rows
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokens.json").write_text('{"dtype": "<u2"}')
        count = 4 * rows * context
        drawn = np.random.default_rng(0).integers(0, size.trained.vocab_size, count, dtype=np.uint16)
        drawn.tofile(Path(folder) / "train.bin")
        file = TokenFile(Path(folder), "train", np.ones(size.trained.vocab_size))
        order = WindowOrder(file, context, rows, 1)
        loader = BatchLoader(
            lambda step: file.read_windows(order.window_starts(step), context), device, ahead=True
        )
        took = []
        for step in range(2 + 2 * size.rounds):
            # The processor's time of this thread: the step before has left the batch ready.
            began = time.thread_time()
            loader.load_batch(step)
            took.append(1000 * (time.thread_time() - began))
            finish(device)
            time.sleep(0.3)
    yield Row(f"host before the first kernel, {rows} rows", statistics.median(took[2:]), "ms", most=1.0)


def measure_packed(size: Size, device: str) -> Iterator[Row]:
    """Measure a step of fine-tuning on packed documents against whole rows of the same size."""
    rates = []
    compiled = device == "cuda"
    for kind in ("causal", "packed"):
        torch.compiler.reset()
        rows = list(measure_step(size, device, kind, compiled, packed=kind == "packed", rows=size.rows // 2))
        rates.append(next(row.value or 0 for row in rows if row.unit == "tokens/s"))
        yield from rows
    yield Row("packed tokens/s over causal tokens/s", rates[1] / rates[0])


def measure_adapters(size: Size, device: str) -> Iterator[Row]:
    """Measure a step that learns adapters of a larger model, whose blocks are computed again."""
    compiled = device == "cuda"
    rows = max(1, size.rows // 8)
    yield from measure_step(size, device, "LoRA", compiled, rows=rows, shape=size.adapted, rank=16)


def measure_step(
    size: Size,
    device: str,
    kind: str,
    compiled: bool,
    packed: bool = False,
    rows: int = 0,
    shape: ModelConfig | None = None,
    rank: int = 0,
) -> Iterator[Row]:
    """Measure a training step of two passes: tokens/s, utilization, first step and memory.

    Args:
        size: The sizes.
        device: "cpu" or "cuda".
        kind: The step in a word, for the table.
        compiled: Whether the loss is compiled.
        packed: Whether each row has several documents.
        rows: The rows of a pass; 0: those of `size`.
        shape: The shape of the model; None: the trained one of `size`.
        rank: The rank of adapters, which are learned alone; 0: all weights are learned.
    """
    # As in trainings, so that the figures are those that a user gets.
    compute_repeatably()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    shape, rows = shape or size.trained, rows or size.rows
    # On the device: random numbers for a large model take minutes on a CPU.
    with torch.device(device):
        model = Transformer(shape)
    if rank:
        attach_adapter(model, "learned", rank, 2.0 * rank, TARGET_MODULES, 0)
        model.recomputes = True
    learner = MixedPrecisionOptimizer(model, MUON, compute_dtype(device), ProcessGroup(device=device))
    random = torch.Generator().manual_seed(0)
    x = torch.randint(shape.vocab_size, (2 * rows, shape.context_length), generator=random).to(device)
    y = x.roll(-1, 1)
    places = torch.arange(shape.context_length, device=device)
    documents = (places * DOCUMENTS // shape.context_length).expand(2 * rows, -1).contiguous()
    by_kernel = find_document_kernel(device, compute_dtype(device), shape.head_dim)
    numbers = torch.arange(1, DOCUMENTS + 1, device=device)
    # The first place whose document is the next one.
    stops = -(-numbers * shape.context_length // DOCUMENTS)
    bounds = stops.expand(2 * rows, -1) if by_kernel else documents
    inputs = (x, y, bounds) if packed else (x, y)

    def plain(tokens: Tensor, targets: Tensor, bounds: Tensor | None = None) -> Tensor:
        hidden = model(tokens, **{"stops" if packed and by_kernel else "documents": bounds}).flatten(0, 1)
        return linear_next_token_loss(hidden, model.output_weight, targets.flatten())

    # On a CPU only the graph is made, as generating code for it takes minutes.
    backend = "inductor" if device == "cuda" else "aot_eager"
    loss = torch.compile(plain, backend=backend) if compiled else plain
    parameters = LoopParameters(steps=100, micro_batch_size=rows, optimizer=MUON)

    def step(number: int) -> None:
        supervised_update(
            learner,
            parameters,
            number,
            2 * rows,
            x.numel(),
            lambda part: loss(*(one[part] for one in inputs)),
        )

    began = finish(device)
    step(0)
    yield Row(f"{kind}: first step, with its compilation", finish(device) - began, "s")
    rate = x.numel() / seconds_of(device, step, size.rounds, warm=2)
    yield Row(f"{kind}: training step", rate, "tokens/s")
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    if not rank:
        used = flops_utilization(rate * flops_per_token(shape), name)
        yield Row(f"{kind}: utilization (MFU)", used)
    peak = peak_memory(device)
    yield Row(f"{kind}: {peak.what}", peak.value, peak.unit)


def measure_sampling(size: Size, device: str) -> Iterator[Row]:
    """Measure sampling beside transformers' `generate`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    a, new, dtype = size.trained, size.new_tokens // 2, compute_dtype(device)
    ours = Transformer(a).init_weights(0).to(device, dtype).eval()
    configuration = LlamaConfig(
        vocab_size=a.vocab_size, hidden_size=a.hidden_size, intermediate_size=a.intermediate_size,
        num_hidden_layers=a.num_layers, num_attention_heads=a.num_heads, num_key_value_heads=a.num_kv_heads,
        max_position_embeddings=a.context_length, tie_word_embeddings=True, pad_token_id=0, eos_token_id=0,
    )  # fmt: skip
    theirs = LlamaForCausalLM(configuration).to(device, dtype).eval()
    for rows in size.sampled_rows:
        random = torch.Generator().manual_seed(0)
        prompts = torch.randint(3, a.vocab_size, (rows, size.prompt_tokens), generator=random)
        there = prompts.to(device)

        def peer(number: int, there: Any = there) -> None:
            with torch.no_grad():
                theirs.generate(
                    there, attention_mask=torch.ones_like(there), do_sample=True, top_k=0,
                    min_new_tokens=new, max_new_tokens=new,
                )  # fmt: skip

        def own(number: int, prompts: Any = prompts) -> None:
            generate_tokens(ours, prompts.tolist(), new, end=0, forbid=(0,), seed=number)

        rounds = min(size.rounds, 3)
        mine, other = (rows * new / seconds_of(device, each, rounds, 1) for each in (own, peer))
        yield Row(f"sampling, {rows} rows", mine, "tokens/s")
        yield Row(f"transformers' generate, {rows} rows", other, "tokens/s")
        yield Row(f"sampling over generate, {rows} rows", mine / other, "times")
    yield peak_memory(device)


def measure_ppo(size: Size, device: str) -> Iterator[Row]:
    """Measure a PPO step, and how far its first ratio is from 1."""
    compute_repeatably()
    a = size.trained
    random = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(3, a.vocab_size, (size.prompt_tokens,), generator=random).tolist()
        for _ in range(size.prompts)
    ]
    policy, reference = (Transformer(a).init_weights(0) for _ in range(2))
    tokenizer: Any = SimpleNamespace(end=0, decode=lambda ids: "")
    parameters = PPOConfig(
        steps=10, batch_size=size.prompts, micro_batch_size=size.rows, num_mini_batches=4,
        max_new_tokens=size.new_tokens, max_kl=20.0, optimizer=OptimizerParameters(learning_rate=1e-6),
    )  # fmt: skip

    def distinct_share(rows: Any) -> torch.Tensor:
        return torch.tensor([len(set(row)) / len(row) for row in rows])

    task = PPOTrainer(
        parameters, policy, reference, tokenizer, distinct_share, prompts, [], 1, ProcessGroup(device=device)
    )
    off = 0.0

    def step(number: int) -> None:
        nonlocal off
        off = max(off, task.optimizer_step(number)["first_ratio_off"])

    seconds = seconds_of(device, step, min(size.rounds, 3), warm=1)
    yield Row(f"PPO step of {size.prompts} prompts, {task.parameters.ppo_epochs} epochs", seconds, "s")
    yield Row("PPO: distance of the first ratio from 1", off, most=RATIO_NOISE_BFLOAT16)
    answer = seconds_of(
        device,
        lambda number: generate_tokens(policy, prompts, size.new_tokens, 0, forbid=(0,), seed=number),
        min(size.rounds, 3),
        warm=1,
    )
    yield Row("PPO: of which the answers", answer if math.isfinite(answer) else None, "s")
    yield peak_memory(device)
