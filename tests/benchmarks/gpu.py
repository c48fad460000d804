"""Measure training, sampling and one PPO step on one GPU, with the model shape of configs/gpu.yaml.

Run it with `python -m tests.benchmarks.gpu`; `--tiny` tries it with a small model on a CPU. It imports model/
only, so it runs where Prefect, MLflow and DVC are not installed. Each part prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from model.inference.generate import generate_tokens
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype, compute_repeatably
from model.training.loop_config import LoopParameters
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.ppo import PPOConfig, PPOTrainer
from model.training.pretrain import PretrainTrainer
from model.training.process_group import ProcessGroup
from model.training.sft import SFTTrainer
from model.training.supervised import supervised_update

PEAK = 989e12  # dense bfloat16 FLOP/s of an H100 SXM and of an H200
MUON = OptimizerParameters(muon_learning_rate=0.02)


@dataclass(frozen=True)
class Size:
    """The size of a measurement: model shape, rows of one pass, prompts of one PPO step, and new tokens."""

    architecture: ModelConfig
    rows: int
    prompts: int
    new_tokens: int
    prompt_tokens: int = 64


WHOLE = Size(
    ModelConfig(
        num_layers=12,
        hidden_size=768,
        num_heads=12,
        intermediate_size=2048,
        context_length=1024,
        vocab_size=50304,
    ),
    64,
    256,
    256,
)
TINY = Size(
    ModelConfig(num_layers=2, hidden_size=64, num_heads=4, context_length=64, vocab_size=512), 4, 8, 24, 8
)


def model_flops(shape: ModelConfig) -> float:
    """Return the FLOPs of a token's forward and backward pass; docs/gpu.md has the formula."""
    looked_up = 0 if shape.tie_embeddings else shape.vocab_size * shape.hidden_size
    return (
        6 * (shape.num_parameters - looked_up)
        + 12 * shape.num_layers * shape.hidden_size * shape.context_length
    )


def finish(device: str) -> float:
    """Wait for the device and return the time in seconds."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(device: str, function: Callable[[int], object], rounds: int, warm: int) -> float:
    """Return the median time of a call with the round's number, after `warm` calls that do not count."""
    took = []
    for number in range(warm + rounds):
        began = finish(device)
        function(number)
        took.append(finish(device) - began)
    return statistics.median(took[warm:])


def training(size: Size, device: str, packed: bool) -> dict[str, Any]:
    """Measure tokens/s, MFU and memory of a step of pretraining, or of fine-tuning on packed rows."""
    shape, rows = size.architecture, size.rows
    model = Transformer(shape).init_weights(0)
    learner = MixedPrecisionOptimizer(model, MUON, compute_dtype(device), ProcessGroup(device=device))
    random = torch.Generator().manual_seed(0)
    x = torch.randint(shape.vocab_size, (2 * rows, shape.context_length), generator=random).to(device)
    y = x.roll(-1, 1)
    places = torch.arange(shape.context_length, device=device)
    documents = (places * 6 // shape.context_length).expand(2 * rows, -1).contiguous()
    holder: Any = SimpleNamespace(model=model)
    if packed:
        loss = lambda part: SFTTrainer._batch_loss(holder, x[part], y[part], documents[part])  # noqa: E731
    else:
        loss = lambda part: PretrainTrainer._window_loss(holder, x[part], y[part])  # noqa: E731
    compiled = torch.compile(loss) if device == "cuda" else loss
    parameters = LoopParameters(steps=100, micro_batch_size=rows, optimizer=MUON)

    def step(number: int) -> None:
        supervised_update(learner, parameters, number, 2 * rows, x.numel(), compiled)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(device, step, rounds=8, warm=3)
    rate = x.numel() / seconds
    return {
        "tokens_per_second": round(rate),
        "mfu": round(rate * model_flops(shape) / PEAK, 3),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1) if device == "cuda" else None,
    }


def sampling(size: Size, device: str, rows: int) -> dict[str, Any]:
    """Measure tokens per second beside transformers' `generate`, in turn, at a number of rows."""
    from transformers import LlamaConfig, LlamaForCausalLM

    a, new, dtype = size.architecture, size.new_tokens // 2, compute_dtype(device)
    ours = Transformer(a).init_weights(0).to(device, dtype).eval()
    configuration = LlamaConfig(
        vocab_size=a.vocab_size, hidden_size=a.hidden_size, intermediate_size=a.intermediate_size,
        num_hidden_layers=a.num_layers,
        num_attention_heads=a.num_heads, num_key_value_heads=a.num_kv_heads,
        max_position_embeddings=a.context_length,
        tie_word_embeddings=True, pad_token_id=0, eos_token_id=0,
    )  # fmt: skip
    theirs = LlamaForCausalLM(configuration).to(device, dtype).eval()
    random = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, a.vocab_size, (rows, size.prompt_tokens), generator=random)
    there = prompts.to(device)

    def peer(number: int) -> None:
        with torch.no_grad():
            theirs.generate(
                there, attention_mask=torch.ones_like(there), do_sample=True, top_k=0,
                min_new_tokens=new, max_new_tokens=new,
            )  # fmt: skip

    def own(number: int) -> None:
        generate_tokens(ours, prompts.tolist(), new, end=0, forbid=(0,), seed=number)

    seconds = {name: seconds_of(device, each, 3, 1) for name, each in (("ours", own), ("peer", peer))}
    return {f"{name}_tokens_per_second": round(rows * new / taken) for name, taken in seconds.items()} | {
        "ours_over_peer": round(seconds["peer"] / seconds["ours"], 2)
    }


def alignment(size: Size, device: str) -> dict[str, Any]:
    """Measure the seconds of one PPO step with one epoch of four minibatches."""
    a = size.architecture
    random = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(3, a.vocab_size, (size.prompt_tokens,), generator=random).tolist()
        for _ in range(size.prompts)
    ]
    policy, reference = (Transformer(a).init_weights(0) for _ in range(2))
    tokenizer: Any = SimpleNamespace(end=0, decode=lambda ids: "")
    parameters = PPOConfig(
        steps=10, batch_size=size.prompts, micro_batch_size=size.rows, num_mini_batches=4,
        max_new_tokens=size.new_tokens,
        ppo_epochs=1, optimizer=OptimizerParameters(learning_rate=1e-6),
    )  # fmt: skip

    def distinct_share(rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor([len(set(row)) / len(row) for row in rows])

    task: Any = PPOTrainer(
        parameters, policy, reference, tokenizer, distinct_share, prompts, [], 1, ProcessGroup(device=device)
    )
    return {"step_seconds": round(seconds_of(device, task.update, rounds=3, warm=1), 3)}


def main() -> None:
    """Measure each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU: does it run at all")
    size, device = (TINY, "cpu") if parser.parse_args().tiny else (WHOLE, "cuda")
    if device == "cuda":
        print(torch.cuda.get_device_name(0), torch.__version__, flush=True)
    # First: deterministic arithmetic refuses operations of transformers' generate.
    for rows in (1, 32, 256):
        print(f"sampling {rows} rows", json.dumps(sampling(size, device, rows)), flush=True)
    for repeatable in (False, True):
        if repeatable and device == "cuda":
            compute_repeatably()
        for name, packed in (("pretraining", False), ("fine-tuning, packed", True)):
            torch.compiler.reset()
            found = {"repeatable": repeatable, **training(size, device, packed)}
            print(name, json.dumps(found), flush=True)
    print("ppo", json.dumps(alignment(size, device)), flush=True)


if __name__ == "__main__":
    main()
