"""Measure the memory of trainings and of the evaluation on this machine's CPU beside its estimate.

```
.venv/bin/python -m tests.benchmarks.training_memory
```
Each training takes a few steps on rows that fill the context, in the process group of a run. The memory of a
process is the most that was resident (VmHWM of /proc), and the table has the process with the most. The
weights are random.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.data.hf_checkpoint import save_model
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.evaluation.evaluate_config import EvaluateParameters
from model.evaluation.memory_estimate import estimate_evaluation
from model.events import EventCallback
from model.inference.prompting import Chat
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype, describe_processor
from model.training.dpo_config import DPOConfig
from model.training.launcher import launch_training
from model.training.loop_config import LoopParameters
from model.training.memory_estimate import Training, estimate_memory
from model.training.ppo_config import PPOConfig
from model.training.reward_config import RewardParameters
from model.training.sft_config import SFTParameters
from tests.benchmarks.shapes import SMOLLM2_135M

CONTEXT, NEW_TOKENS = 128, 32
BAR = 0.1
# 10 million weights, of which the Python process takes a large part; and those of SmolLM2-135M.
SHAPES = {
    "tiny": ModelConfig(vocab_size=300, num_layers=1, hidden_size=16, num_heads=2, context_length=CONTEXT),
    "10M": ModelConfig(
        vocab_size=4096, num_layers=8, hidden_size=320, num_heads=5, context_length=CONTEXT
    ),
    "135M": replace(SMOLLM2_135M, context_length=CONTEXT, weight_dtype="bfloat16"),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """The memory of one training in bytes: the estimate, and the peak of the process with the most."""

    stage: str
    estimate: int
    peak: int

    @property
    def error(self) -> float:
        """Return the error of the estimate as a share of the peak."""
        return self.estimate / self.peak - 1


def run_measured(
    function: str, arguments: dict[str, Any], folder: str, on_event: EventCallback
) -> dict[str, Any]:
    """Run a training in this process of a group, and write the most memory that was resident."""
    module, _, name = function.partition(":")
    found: dict[str, Any] = getattr(importlib.import_module(module), name)(**arguments, on_event=on_event)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    Path(folder, f"{os.environ.get('RANK', '0')}.peak").write_text(str(peak))
    return found


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def filling_prompt(tokenizer: Tokenizer, number: int) -> str:
    """Return a prompt that leaves room for an answer in the context, and for nothing else."""
    text, room = f"{number}", CONTEXT - NEW_TOKENS
    while True:
        longer = {"prompt": f"{text} the", "completion": "", "source": "s"}
        if len(Chat(tokenizer).encode_example(longer).prompt) > room:
            return text
        text = longer["prompt"]


def write_data(folder: Path, tokenizer: Tokenizer) -> None:
    """Write pairs and labels in the layout of the stages split and labels."""
    for split, count in (("train", 80), ("valid", 8), ("test", 80)):
        answer = " the" * (NEW_TOKENS - 1)
        pairs = [
            {"prompt": filling_prompt(tokenizer, i), "completion": answer, "source": "s", "aspect": "tone"}
            for i in range(count)
        ]
        labels = folder / "labels"
        write_rows(folder / "split" / split / "pairs" / "0.jsonl", pairs)
        # Two answers of each prompt, of which the second is one word shorter.
        shorter = [{**pair, "completion": answer.removesuffix(" the")} for pair in pairs]
        rated = [{**row, "score": score} for rows, score in ((pairs, 2.0), (shorter, -2.0)) for row in rows]
        write_rows(labels / f"{split}.ratings.jsonl", rated)
        compared = [
            {"prompt": one["prompt"], "chosen": one["completion"], "rejected": other["completion"],
             "aspect": "helpfulness", "source": "s"}
            for one, other in zip(pairs, shorter, strict=True)
        ]  # fmt: skip
        write_rows(labels / f"{split}.comparisons.jsonl", compared)
        held_out = [
            {"chosen": one, "rejected": other, "aspect": "tone", "source": "s", "gap": 4.0}
            for one, other in zip(pairs, shorter, strict=True)
        ]
        write_rows(labels / f"pairs.{split}.jsonl", held_out)
        texts = [{"text": answer * 4, "source": "s"} for _ in range(count)]
        write_rows(folder / "split" / split / "text" / "0.jsonl", texts)


def stage_parameters(rank: int) -> dict[str, dict[str, Any]]:
    """Return the parameters of each training: those of configs/adapt.yaml, with two steps."""
    common = {"steps": 2, "lora": {"rank": rank}, "optimizer": {"learning_rate": 1e-4}}
    return {
        "sft": {**common, "batch_size": 4},
        "reward": {**common, "batch_size": 4, "group_size": 8, "num_reference_samples": 32,
                   "reference_tokens": NEW_TOKENS},
        "rlhf": {**common, "batch_size": 32, "ppo_epochs": 1, "num_mini_batches": 2, "num_eval_prompts": 8,
                 "max_new_tokens": NEW_TOKENS, "max_kl": 1e6, "max_step_kl": 1e6},
        "rlhf.dpo": {**common, "batch_size": 16},
        "evaluate": {"num_prompts": 64, "max_new_tokens": NEW_TOKENS},
    }  # fmt: skip


# The function of each training, and its arguments for its inputs: folders beside the base model's.
FUNCTIONS = {
    "sft": ("model.training.sft:train_sft", {"base": "base/model", "pairs": "split"}),
    "reward": ("model.training.reward:train_reward", {"base": "sft/model", "labels": "labels"}),
    "rlhf": (
        "model.training.ppo:train_ppo", {"policy": "sft/model", "reward": "reward", "prompts": "split"}
    ),
    "rlhf.dpo": (
        "model.training.dpo:train_dpo", {"policy": "sft/model", "labels": "labels", "pairs": "split"}
    ),
    # The most models that it can hold: with a judge and a champion.
    "evaluate": (
        "model.evaluation.evaluate:evaluate",
        {"base": "base/model", "sft": "sft/model", "aligned": "rlhf/model", "reward": "reward",
         "split": "split", "labels": "labels", "judge": "reward", "champion": "sft/model"},
    ),
}  # fmt: skip
CLASSES: dict[str, type[LoopParameters]] = {
    "sft": SFTParameters, "reward": RewardParameters, "rlhf": PPOConfig, "rlhf.dpo": DPOConfig,
}  # fmt: skip


def measure_stage(stage: str, root: Path, shape: ModelConfig, rank: int, processes: int) -> Measured:
    """Run one training and return its memory."""
    from tests.benchmarks.training_memory import run_measured as measured

    function, inputs = FUNCTIONS[stage]
    parameters = stage_parameters(rank)[stage]
    peaks = root / "peaks" / stage
    peaks.mkdir(parents=True)
    arguments = {
        "parameters": parameters, **{name: str(root / place) for name, place in inputs.items()},
        "folder": str(root / stage), "seed": 1, "device": "cpu",
    }  # fmt: skip
    if stage == "evaluate":
        arguments["embeddings"] = ""
    launch_training(
        measured,
        {"function": function, "arguments": arguments, "folder": str(peaks)},
        processes=processes,
        log=root / "log",
    )
    peak = max(int(path.read_text()) for path in peaks.iterdir())
    if stage == "evaluate":
        settings = EvaluateParameters.read(parameters)
        # Of one process: each has all models.
        one = estimate_evaluation(settings, shape, "cpu", 1, compute_dtype("cpu"))
        return Measured(stage, one.needed, peak)
    training = Training(CLASSES[stage].read(parameters), shape, "cpu", processes, compute_dtype("cpu"))
    return Measured(stage, estimate_memory(training).total, peak)


def main() -> int:
    """Print the table; return 1 if an estimate misses the bar."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.training_memory", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="135M", help="the model")
    parser.add_argument("--rank", type=int, default=16, help="rank of the adapters; 0: all weights learn")
    parser.add_argument("--processes", type=int, default=2, help="training processes")
    parser.add_argument(
        "--stages", default="sft,reward,rlhf,evaluate", help="stages, each after those it needs"
    )
    chosen = parser.parse_args()
    shape = SHAPES[chosen.shape]
    print(f"{describe_processor()}; {compute_dtype('cpu')}; {chosen.processes} processes")
    print("| training | estimate, MB | measured, MB | error |")
    print("|---|---|---|---|")
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tokenizer = train_tokenizer([f"the film {i} is good, the story is long." for i in range(500)], 280)
        save_model(
            Transformer(replace(shape, open_model=True)).init_weights(0), tokenizer, root / "base" / "model"
        )
        write_data(root, tokenizer)
        for stage in chosen.stages.split(","):
            found = measure_stage(stage, root, shape, chosen.rank, chosen.processes)
            missed |= abs(found.error) > BAR
            print(
                f"| {stage} | {found.estimate / 1e6:,.0f} | {found.peak / 1e6:,.0f} | {found.error:+.1%} |",
                flush=True,
            )
    print(f"the bar is {BAR:.0%}: {'missed' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
