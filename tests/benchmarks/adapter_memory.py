"""The memory of a GPU in trainings with adapters, from shapes alone.

```
python -m tests.benchmarks.adapter_memory
```
It is the estimate that `init` and the start of a run state. No GPU and no memory are needed.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import product
from typing import Any, Literal

import torch

from model.training.dpo_config import DPOConfig
from model.training.loop_config import LoopParameters
from model.training.lora_config import LoRAParameters
from model.training.memory_estimate import MemoryEstimate, Training, estimate_memory
from model.training.ppo_config import PPOConfig
from model.training.reward_config import RewardParameters
from model.training.sft_config import SFTParameters
from tests.benchmarks.shapes import LLAMA_7B, MISTRAL_7B

RANK = 16
QUANTIZATIONS: tuple[Literal["none", "nf4"], ...] = ("none", "nf4")
# The parts of an estimate that a GPU has.
PARTS = ("weights", "optimizer", "gradients", "activations", "sampling", "evaluation", "total")


def adapter_trainings(sampled: int, quantize: Literal["none", "nf4"] = "none") -> dict[str, LoopParameters]:
    """Return the trainings of a run, with one row in a pass, and `sampled` answers at once."""
    saved: dict[str, Any] = {
        "batch_size": 64, "micro_batch_size": 1, "activation_checkpointing": True,
        "lora": LoRAParameters(rank=RANK, quantize=quantize),
    }  # fmt: skip
    return {
        "SFT": SFTParameters(**saved),
        "reward model": RewardParameters(**saved),
        "PPO": PPOConfig(**saved, max_new_tokens=512, sampling_batch_size=sampled),
        "DPO": DPOConfig(**saved),
    }


def sizes(estimate: MemoryEstimate) -> dict[str, int]:
    """Return the bytes of an estimate by part, with the total."""
    return {**asdict(estimate), "total": estimate.total}


def main() -> None:
    """Print the memory of two models of 7 billion weights."""
    print("| model | weights in | training | answers at once |", " | ".join(PARTS), "|")
    cases = product((("Llama 2 7B", LLAMA_7B, 4), ("Mistral 7B", MISTRAL_7B, 16)), QUANTIZATIONS)
    for (name, shape, answers), quantize in cases:
        for kind, parameters in adapter_trainings(answers, quantize).items():
            found = sizes(estimate_memory(Training(parameters, shape, "cuda", 1, torch.bfloat16)))
            at_once = answers if kind == "PPO" else ""
            shown = " | ".join(f"{found[each] / 1e9:.1f}" for each in PARTS)
            stored = "4 bits" if quantize == "nf4" else "16 bits"
            print(f"| {name} | {stored} | {kind} | {at_once} | {shown} |")


if __name__ == "__main__":
    sys.exit(main())
