"""The memory of a GPU in a training with shared weights, from shapes alone.

```
python -m tests.benchmarks.sharded_memory
```
It is the estimate that `init` and the start of a run state. No GPU and no memory are needed.
"""

from __future__ import annotations

import itertools
import sys

import torch

from model.training.memory_estimate import Training, estimate_memory
from model.training.optimizer_config import OptimizerParameters
from model.training.sft_config import SFTParameters
from tests.benchmarks.adapter_memory import sizes
from tests.benchmarks.shapes import LLAMA_8B

PARTS = ("optimizer", "gradients", "activations", "evaluation", "total")


def main() -> None:
    """Print the memory of a full fine-tuning of 8 billion weights on 2 to 16 devices."""
    print(f"{LLAMA_8B.num_parameters:,} weights, context {LLAMA_8B.context_length:,}, micro-batch of 1")
    print("| devices | bits of a moment | activation checkpointing |", " | ".join(PARTS), "|")
    for processes, bits, recomputes in itertools.product((2, 4, 8, 16), (32, 8), (False, True)):
        parameters = SFTParameters(
            batch_size=64,
            micro_batch_size=1,
            sharding="full",
            activation_checkpointing=recomputes,
            optimizer=OptimizerParameters(adamw_bits=bits),
        )
        training = Training(parameters, LLAMA_8B, "cuda", processes, torch.bfloat16)
        found = sizes(estimate_memory(training))
        shown = " | ".join(f"{found[each] / 1e9:.1f}" for each in PARTS)
        print(f"| {processes} | {bits} | {'yes' if recomputes else 'no'} | {shown} |")


if __name__ == "__main__":
    sys.exit(main())
