"""Measure what 4 bits (`lora.quantize: nf4`) take from an open model: the loss on its own answers.

```
python -m tests.benchmarks.nf4_loss MODEL_FOLDER
```
The full model answers questions, always by its most likely token. Then the mean loss of these answers is
measured under the full model and under its weights in 4 bits, with the share of tokens that each finds most
likely.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch

from model.data.chat_template import chat_prompt
from model.data.dataloader import Example
from model.data.hf_checkpoint import load_model
from model.inference.generate import generate_in_parts
from model.inference.scoring import completion_logprobs
from model.nn.nf4 import packed_weights
from model.nn.peak_memory import tensor_bytes
from model.nn.transformer import Transformer
from model.training.devices import describe_processor

CONTEXT, NEW_TOKENS = 256, 64
QUESTIONS = (
    "What is the capital of France?", "How does a rainbow form?", "Write a short poem about rain.",
    "Why is the sky blue?", "Name three fruits that are red.", "How do I boil an egg?",
    "What does a baker do?", "Explain what a computer program is.", "Who wrote Hamlet?",
    "Give me advice for a job interview.", "What is 12 times 12?", "How do plants make food?",
    "Describe a walk by the sea.", "What is the largest planet?", "Why do people sleep?",
    "How can I save money on food?", "What is a good name for a cat?", "When did the Second World War end?",
    "Translate good morning into Spanish.", "What is the difference between a frog and a toad?",
    "Write one sentence about winter.", "How far is the moon?", "What should I pack for a hike?",
    "Tell me a fact about bees.",
)  # fmt: skip


def likely_share(model: Transformer, examples: list[Example]) -> float:
    """Return the share of the answers' tokens that a model finds most likely."""
    right = tokens = 0
    for example in examples:
        row, start = torch.tensor([example.tokens]), len(example.prompt)
        chosen = model.compute_logits(model(row))[0, start - 1 : -1].argmax(-1)
        right += int((chosen == row[0, start:]).sum())
        tokens += len(example.tokens) - start
    return right / tokens


@torch.no_grad()
def main() -> None:
    """Print a table with the losses, and the bytes of both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="MODEL_FOLDER")
    folder = parser.parse_args().folder
    full, tokenizer = load_model(folder, context_length=CONTEXT)
    prompts = [chat_prompt({"prompt": text}, tokenizer, CONTEXT - NEW_TOKENS)[0] for text in QUESTIONS]
    answers = generate_in_parts(full, prompts, NEW_TOKENS, tokenizer.end, temperature=0.0, seed=0, parts=1)
    examples = [Example(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    tokens = sum(map(len, answers))
    began = time.monotonic()
    packed, _ = load_model(folder, context_length=CONTEXT, quantize=True)
    seconds = time.monotonic() - began
    error = whole = 0.0
    for name, each in packed_weights(packed):
        weight = full.get_submodule(name).weight
        error += (each.dequantize() - weight).square().sum().item()
        whole += weight.square().sum().item()
    print(f"{describe_processor()}, float32; {len(answers)} answers, {tokens} tokens")
    print(f"error of the rounded weights: {math.sqrt(error / whole):.4f}; loaded in {seconds:.1f} s")
    print("| weights | MB in float32 arithmetic | loss, nats a token | tokens that are the most likely |")
    for kind, model in (("full", full), ("4 bits", packed)):
        loss = -sum(completion_logprobs(model, examples, tokenizer.end)) / tokens
        size = tensor_bytes([*model.parameters(), *model.buffers()]) / 1e6
        print(f"| {kind} | {size:.0f} | {loss:.4f} | {likely_share(model, examples):.1%} |")


if __name__ == "__main__":
    sys.exit(main())
