"""The memory of a GPU in PPO with adapters, from shapes alone.

```
python -m tests.benchmarks.adapter_memory
```
The model is on the meta device, so no GPU and no memory are needed. PPO samples and then learns; the peak is
that of the larger phase. What the passes compute is counted as in tests/benchmarks/sharded_memory.py, with
activation checkpointing.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import torch

from model.nn.lora import adapted_layers, attach_adapter
from model.nn.losses import linear_logprobs
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.lora_config import TARGET_MODULES
from tests.model.nn.peak_memory import PeakMemory

LLAMA_7B = ModelConfig(
    vocab_size=32_000, hidden_size=4096, num_layers=32, num_heads=32, num_kv_heads=32,
    intermediate_size=11_008, context_length=2048, tie_embeddings=False,
)  # fmt: skip
MISTRAL_7B = ModelConfig(
    vocab_size=32_000, hidden_size=4096, num_layers=32, num_heads=32, num_kv_heads=8,
    intermediate_size=14_336, context_length=2048, tie_embeddings=False,
)  # fmt: skip
RANK = 16
# Bytes for each number of the learned adapter: bfloat16 copy and its gradient, float32 master and gradient,
# the two moments, and the copy of master and moments from which an undone step is restored.
LEARNED = 2 + 2 + 4 + 4 + 8 + 12


@dataclass(frozen=True)
class AdapterMemory:
    """Bytes of one GPU.

    Attributes:
        weights: The model in bfloat16: policy, reference and reward model at once.
        adapters: The learned adapter with its optimizer, and the reward model's.
        keys_and_values: Those of the answers that are sampled at once, at the whole context.
        learning: What one row's forward and backward pass keeps and computes.
    """

    weights: int
    adapters: int
    keys_and_values: int
    learning: int

    @property
    def total(self) -> int:
        """Return the peak: keys and values are freed before the policy learns."""
        return self.weights + self.adapters + max(self.keys_and_values, self.learning)


def adapter_memory(architecture: ModelConfig, answers: int, rows: int = 1) -> AdapterMemory:
    """Return the bytes of PPO.

    Args:
        architecture: The model, with the context of the training.
        answers: `rlhf.sampling_batch_size`.
        rows: `rlhf.micro_batch_size`, each row a whole context.
    """
    with torch.device("meta"):
        model = Transformer(architecture).to(torch.bfloat16)
        tokens = torch.zeros((rows, architecture.context_length), dtype=torch.int64)
    weights = sum(weight.numel() for weight in model.parameters())
    attach_adapter(model, "learned", RANK, 2.0 * RANK, TARGET_MODULES, seed=0)
    # An adapter of a model without weights is made on the CPU.
    model.to("meta")
    layers = [layer for _, layer in adapted_layers(model)]
    adapter = sum(weight.numel() for layer in layers for weight in layer.adapters.parameters())
    model.recomputes = True
    memory = PeakMemory()
    memory.ignore([*model.parameters(), *model.buffers(), tokens])
    with memory:
        hidden = model(tokens).flatten(0, 1)
        linear_logprobs(hidden, model.output_weight, tokens.flatten()).sum().backward()
    a = architecture
    per_token = 2 * 2 * a.num_layers * a.num_kv_heads * a.head_dim
    return AdapterMemory(
        weights=2 * weights,
        adapters=(LEARNED + 2) * adapter,
        keys_and_values=answers * a.context_length * per_token,
        learning=memory.peak,
    )


def main() -> None:
    """Print the memory of two models of 7 billion weights."""
    names = [*AdapterMemory.__dataclass_fields__, "total"]
    print("| model | answers at once |", " | ".join(names), "|")
    for name, shape, answers in (("Llama 2 7B", LLAMA_7B, 4), ("Mistral 7B", MISTRAL_7B, 16)):
        memory = adapter_memory(shape, answers)
        sizes = {**asdict(memory), "total": memory.total}
        print(f"| {name} | {answers} |", " | ".join(f"{sizes[each] / 1e9:.1f}" for each in names), "|")


if __name__ == "__main__":
    sys.exit(main())
