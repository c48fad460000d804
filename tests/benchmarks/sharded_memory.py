"""The memory of a device in a training with shared weights, from shapes alone.

```
python -m tests.benchmarks.sharded_memory
```
The model is on the meta device, so no GPU and no memory are needed. The weights, gradients and moments that a
process stores are counted row by row. One forward and one backward pass of the model show which tensors are
alive at once: each operation's result counts from its creation until torch frees it. Attention is counted
with its whole matrix of scores, which a GPU's kernels do not store.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import torch

from model.nn.losses import linear_next_token_loss
from model.nn.model_config import ModelConfig, RopeScaling
from model.nn.transformer import Transformer
from model.training.process_group import ProcessGroup
from tests.model.nn.peak_memory import PeakMemory

# Llama 3.1 8B, at a context of 2,048.
LLAMA_8B = ModelConfig(
    vocab_size=128_256, hidden_size=4096, num_layers=32, num_heads=32, num_kv_heads=8,
    intermediate_size=14_336, context_length=2048, rope_theta=500_000.0, tie_embeddings=False,
    rope_scaling=RopeScaling("llama3", 8.0, 8192, 1.0, 4.0), max_context_length=131_072,
)  # fmt: skip


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of one device at the peak of a training step.

    Attributes:
        weights: This process's float32 rows of all weights.
        gradients: Their gradients.
        moments: The two moments of AdamW.
        gathered: Whole weights in bfloat16: those outside the blocks, and of two blocks, as the next one is
            gathered early.
        reduced: The float32 sums of gradients on their way: those outside the blocks, and of one block.
        activations: What the passes keep and compute, with the gradients of the block at work.
    """

    weights: int
    gradients: int
    moments: int
    gathered: int
    reduced: int
    activations: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return sum(asdict(self).values())


def pass_bytes(architecture: ModelConfig, rows: int, recompute: bool) -> int:
    """Return the most bytes alive in a forward and a backward pass in bfloat16, without the weights.

    A weight's gradient is freed when it is complete, as it is when the processes share the sums.
    """
    with torch.device("meta"):
        model = Transformer(architecture).to(torch.bfloat16)
        tokens = torch.zeros((rows, architecture.context_length), dtype=torch.int64)
    model.recomputes = recompute
    for weight in model.parameters():
        weight.register_post_accumulate_grad_hook(lambda one: setattr(one, "grad", None))
    memory = PeakMemory()
    memory.ignore([*model.parameters(), *model.buffers(), tokens])
    with memory:
        hidden = model(tokens).flatten(0, 1)
        loss = linear_next_token_loss(hidden, model.output_weight, tokens.flatten())
        del hidden
        loss.backward()
    return memory.peak


def device_memory(
    architecture: ModelConfig, processes: int, rows: int = 1, recompute: bool = True
) -> DeviceMemory:
    """Return the bytes of the first process, which has the most rows.

    Args:
        architecture: The model with the context of the training.
        processes: The number of devices.
        rows: The rows of a micro-batch, each a whole context.
        recompute: Whether the backward pass computes each block again (activation checkpointing).
    """
    world = ProcessGroup(0, processes)
    own = whole = block = 0
    for name, shape in architecture.weight_shapes().items():
        numel = torch.Size(shape).numel()
        mine = world.own_rows(shape[0])
        own += (mine.stop - mine.start) * (numel // shape[0])
        if ".layers." not in name:
            whole += numel
        elif ".layers.0." in name:
            block += numel
    return DeviceMemory(
        weights=4 * own,
        gradients=4 * own,
        moments=8 * own,
        gathered=2 * (whole + 2 * block),
        reduced=4 * (whole + block),
        activations=pass_bytes(architecture, rows, recompute),
    )


def main() -> None:
    """Print the memory of a full fine-tuning of 8 billion weights on 4, 8 and 16 devices."""
    print(f"{LLAMA_8B.num_parameters:,} weights, context {LLAMA_8B.context_length:,}, micro-batch of 1")
    names = [*DeviceMemory.__dataclass_fields__, "total"]
    print("| devices | activation checkpointing |", " | ".join(names), "|")
    for processes in (4, 8, 16):
        for recompute in (False, True):
            memory = device_memory(LLAMA_8B, processes, recompute=recompute)
            sizes = [f"{getattr(memory, name) / 1e9:.1f}" for name in names]
            print(f"| {processes} | {str(recompute).lower()} |", " | ".join(sizes), "|")


if __name__ == "__main__":
    sys.exit(main())
