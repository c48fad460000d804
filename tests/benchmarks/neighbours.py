"""Measure a training step of the demo's shape beside two peers, alone and beside a busy program.

chatmill trains with one process for each core, the peers with one thread for each: transformers' Llama, and a
plain GPT in the layout of nanoGPT (https://github.com/karpathy/nanoGPT). All use fused AdamW and the same
dtype. They run in turn, each in processes of its own, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.events import EventCallback
from model.nn.losses import linear_next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype, describe_processor
from model.training.launcher import launch_training
from model.training.loop_config import LoopParameters
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from model.training.supervised import supervised_update

DEMO = ModelConfig(vocab_size=2048, num_layers=4, hidden_size=128, num_heads=4, context_length=128)
ROWS = 16
WARM = 5
CORES = 2
PEERS = ("transformers", "nanoGPT's layout")
BARS = {"alone": 1.4, "busy": 3.0}


def train_steps(steps: int, on_event: EventCallback) -> dict[str, float]:
    """Take optimizer steps in every process of a group; return the median seconds of one."""
    world = ProcessGroup.join_group("cpu", CORES)
    parameters = LoopParameters(steps=steps, batch_size=ROWS, optimizer=OptimizerParameters())
    model = Transformer(DEMO).init_weights(0)
    learner = MixedPrecisionOptimizer(model, parameters.optimizer, compute_dtype("cpu"), world)
    inputs, targets = random_batch()

    def step(number: int) -> None:
        supervised_update(
            learner, parameters, number, ROWS, inputs.numel(),
            lambda part: linear_next_token_loss(
                model(inputs[part]).flatten(0, 1), model.output_weight, targets[part].flatten()
            ),
        )  # fmt: skip

    return {"seconds": median_seconds(step, steps)}


def peer_seconds(name: str, steps: int) -> float:
    """Return the median seconds of a peer's optimizer step in this process."""
    torch.manual_seed(0)
    dtype = compute_dtype("cpu")
    model = (llama() if name == PEERS[0] else PlainGPT(DEMO)).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), fused=True)
    inputs, targets = random_batch()

    def step(number: int) -> None:
        out = model(inputs)
        logits = out if isinstance(out, Tensor) else out.logits
        F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return median_seconds(step, steps)


def random_batch() -> tuple[Tensor, Tensor]:
    """Return inputs and targets of one step, [ROWS, T] each."""
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(DEMO.vocab_size, (ROWS, DEMO.context_length + 1), generator=random)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def median_seconds(step: Callable[[int], None], steps: int) -> float:
    """Return the median time of `steps` steps after some to warm up."""
    took = []
    for number in range(WARM + steps):
        began = time.perf_counter()
        step(min(number, steps - 1))
        took.append(time.perf_counter() - began)
    return statistics.median(took[WARM:])


def llama() -> nn.Module:
    """Return transformers' model of the same layout and size."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=DEMO.vocab_size, hidden_size=DEMO.hidden_size, intermediate_size=DEMO.intermediate_size,
        num_hidden_layers=DEMO.num_layers, num_attention_heads=DEMO.num_heads, use_cache=False,
        max_position_embeddings=DEMO.context_length, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).train()


class PlainGPT(nn.Module):
    """GPT-2's layout: learned positions, LayerNorm, GELU with four times the width, tied embeddings."""

    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        width = shape.hidden_size
        self.tokens = nn.Embedding(shape.vocab_size, width)
        self.positions = nn.Embedding(shape.context_length, width)
        self.blocks = nn.ModuleList(PlainBlock(width, shape.num_heads) for _ in range(shape.num_layers))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


class PlainBlock(nn.Module):
    """A block of GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.attend(self.first(x)).chunk(3, dim=-1)
        queries, keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(self.second(x))))


@contextmanager
def busy_program(busy: bool) -> Iterator[None]:
    """Keep one core busy with an endless loop, if asked to."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if loop:
            loop.kill()
            loop.wait()


def seconds_of(side: str, steps: int, folder: Path) -> float:
    """Return the median seconds of one side's step, measured in processes of its own."""
    if side == "chatmill":
        # By its own name: the processes cannot import a function of __main__.
        from tests.benchmarks.neighbours import train_steps as train

        os.environ["OMP_NUM_THREADS"] = "1"
        found = launch_training(train, {"steps": steps}, processes=CORES, log=folder / "log")
        return float(found["seconds"])
    command = [sys.executable, "-m", "tests.benchmarks.neighbours", "--side", side, "--steps", str(steps)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": str(CORES)}, capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure all sides in turn and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.neighbours", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side (default 3)")
    parser.add_argument("--steps", type=int, default=30, help="steps of one measurement (default 30)")
    parser.add_argument("--side", choices=PEERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(peer_seconds(asked.side, asked.steps)))
        return
    sides = ("chatmill", *PEERS)
    print(f"{describe_processor()}, {str(compute_dtype('cpu')).removeprefix('torch.')}, {CORES} cores")
    with tempfile.TemporaryDirectory() as folder:
        for name, bar in BARS.items():
            found: dict[str, list[float]] = {side: [] for side in sides}
            with busy_program(name == "busy"):
                for _ in range(asked.rounds):
                    for side in sides:
                        found[side].append(seconds_of(side, asked.steps, Path(folder)))
            seconds = {side: statistics.median(values) for side, values in found.items()}
            ratio = min(seconds[peer] for peer in PEERS) / seconds["chatmill"]
            shown = ", ".join(f"{side} {value * 1000:.0f} ms" for side, value in seconds.items())
            print(f"{name}: {shown}; {ratio:.2f} times the faster peer (bar {bar})", flush=True)


if __name__ == "__main__":
    main()
