"""Measure an optimizer step of SFT with low-rank adapters beside the library PEFT with transformers.

The model has the shape of SmolLM2-135M and random weights. Both sides learn the same completions, in one
process, in turn and in the same dtype. PEFT gets the batch as its usual collator makes it: padded to the
longest pair, with the loss on completions only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from model.data.dataloader import Example, PackedBatch, Packing
from model.data.hf_checkpoint import load_model, save_model
from model.data.tokenizer import train_tokenizer
from model.nn.lora import attach_adapter
from model.nn.losses import linear_next_token_loss
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype, describe_processor
from model.training.lora_config import TARGET_MODULES
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from tests.benchmarks.__main__ import dtype_name, generate_texts
from tests.benchmarks.pairing import Ratio, pair
from tests.benchmarks.shapes import SMOLLM2_135M as SMOLLM2

PAIRS, RANK, BAR = 12, 16, 1.3


def random_pairs() -> list[Example]:
    """Return pairs of prompt and completion with the lengths of short questions and answers."""
    random = np.random.default_rng(0)
    return [
        Example(
            random.integers(300, SMOLLM2.vocab_size, int(random.integers(16, 65))).tolist(),
            random.integers(300, SMOLLM2.vocab_size, int(random.integers(16, 129))).tolist(),
        )
        for _ in range(PAIRS)
    ]


def measure_step(folder: Path, dtype: torch.dtype, rounds: int) -> Ratio:
    """Time one optimizer step of both sides in `dtype`."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    pairs = random_pairs()
    tokens = sum(len(pair.tokens) - 1 for pair in pairs)
    model, _ = load_model(folder)
    attach_adapter(model, "learned", RANK, 2.0 * RANK, TARGET_MODULES, seed=0)
    learner = MixedPrecisionOptimizer(model, OptimizerParameters(learning_rate=1e-3), dtype, ProcessGroup())
    packing = Packing.pack_examples([len(pair.tokens) - 1 for pair in pairs], SMOLLM2.context_length)
    batch = PackedBatch.from_rows(
        [[pairs[i] for i in row] for row in packing.rows], SMOLLM2.context_length, 0
    )
    theirs = get_peft_model(
        LlamaForCausalLM.from_pretrained(folder, dtype=dtype),
        LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(TARGET_MODULES)),
    ).train()
    learned = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    longest = max(len(pair.tokens) for pair in pairs)
    inputs, labels = torch.zeros((2, PAIRS, longest), dtype=torch.int64)
    labels -= 100
    mask = torch.zeros_like(inputs)
    for row, pair_ in enumerate(pairs):
        length = len(pair_.tokens)
        inputs[row, :length] = torch.tensor(pair_.tokens)
        mask[row, :length] = 1
        labels[row, len(pair_.prompt) : length] = torch.tensor(pair_.completion)

    def our_step() -> None:
        hidden = model(batch.tokens, documents=batch.documents).flatten(0, 1)
        loss = linear_next_token_loss(hidden, model.output_weight, batch.targets.flatten())
        (loss / batch.num_targets).backward()
        learner.accumulate_grads()
        learner.step(1.0)

    def their_step() -> None:
        logits = theirs(input_ids=inputs, attention_mask=mask, use_cache=False).logits[:, :-1]
        F.cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return pair(
        f"SFT step with adapters, {dtype_name(dtype)}", our_step, their_step, BAR, rounds, f"{tokens} tokens"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.adapter_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="steps that count, for each side")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{describe_processor()}; one thread")
    with tempfile.TemporaryDirectory() as folder:
        save_model(
            Transformer(SMOLLM2).init_weights(0), train_tokenizer(generate_texts()[:500], 300), Path(folder)
        )
        for dtype in dict.fromkeys((compute_dtype("cpu"), torch.float32)):
            ratio = measure_step(Path(folder), dtype, rounds)
            tokens = int(ratio.amount.split()[0])
            print(
                f"{ratio.what}: {tokens / ratio.ours:.0f} tokens/s, peft {tokens / ratio.theirs:.0f}, ratio "
                f"{ratio.value:.2f} (bar {BAR}: {'met' if ratio.met else 'missed'})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
