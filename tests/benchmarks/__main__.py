"""Measure a training step, generation and encoding on this machine's CPU, beside the installed peers.

Run it with `make bench`. Both sides run in one process, in turn; the result is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path

# As model.training.launcher does for every training: it counts for both sides alike.
if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
    from model.training.launcher import RUNTIME

    os.execve(
        sys.executable, [sys.executable, "-m", "tests.benchmarks", *sys.argv[1:]], {**os.environ, **RUNTIME}
    )

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from model.data.hf_checkpoint import load_model, save_model
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.errors import UserError
from model.inference.generate import generate_tokens
from model.nn.losses import linear_next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype
from model.training.optimizer import MixedPrecisionOptimizer
from model.training.optimizer_config import OptimizerParameters
from model.training.process_group import ProcessGroup
from tasks.data.records import read_shards
from tests.benchmarks.pairing import Ratio, pair

STEP = ModelConfig(vocab_size=4096, num_layers=6, hidden_size=384, num_heads=6, context_length=256)
ROWS = 8
PROMPT, NEW = 64, 64
# The least ratios of a training step and of sampling, with both sides in the same dtype.
STEP_BARS = {torch.bfloat16: 1.3, torch.float32: 1.2}
SAMPLING_BARS = {torch.bfloat16: 2.0, torch.float32: 3.0}


def read_corpus() -> tuple[list[str], Tokenizer]:
    """Return the texts to encode, and their tokenizer.

    The texts are those of data/ if they suffice for the vocabulary; else they are generated. The smoke data
    does not suffice.
    """
    if found := [row["text"] for row in read_shards(Path("data/text"))]:
        with suppress(UserError):
            return found, train_tokenizer(found, STEP.vocab_size)
    made = generate_texts()
    return made, train_tokenizer(made, STEP.vocab_size)


def generate_texts() -> list[str]:
    """Return texts of words with the frequencies of Zipf's law."""
    random = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    shares = 1 / np.arange(1, 23)
    words = [
        "".join(random.choice(letters, size=n, p=shares / shares.sum())) for n in random.integers(2, 11, 8000)
    ]
    zipf = 1 / np.arange(1, 8001)
    return [" ".join(random.choice(words, size=120, p=zipf / zipf.sum())) + ".\n" for _ in range(6000)]


def training(folder: Path, dtype: torch.dtype, tokenizer: Tokenizer) -> Ratio:
    """Time one optimizer step at 12.2M weights, from the forward pass to AdamW, both sides in `dtype`."""
    from transformers import LlamaForCausalLM

    save_model(Transformer(STEP).init_weights(0), tokenizer, folder)
    model, _ = load_model(folder)
    learner = MixedPrecisionOptimizer(model, OptimizerParameters(learning_rate=3e-4), dtype, ProcessGroup())
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=dtype).train()
    optimizer = torch.optim.AdamW(
        theirs.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(STEP.vocab_size, (ROWS, STEP.context_length + 1), generator=random)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def our_step() -> None:
        hidden = model(inputs).flatten(0, 1)
        loss = linear_next_token_loss(hidden, model.output_weight, targets.flatten()) / inputs.numel()
        loss.backward()
        learner.accumulate_grads()
        learner.step(1.0)

    def their_step() -> None:
        logits = theirs(inputs, use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return pair(
        f"training step, {dtype_name(dtype)}", our_step, their_step, STEP_BARS[dtype], 9,
        f"{inputs.numel()} tokens",
    )  # fmt: skip


def generation(folder: Path, dtype: torch.dtype, rows: int, bar: float) -> Ratio:
    """Time prompts of 64 tokens with 64 new ones each, both sides in `dtype`; no side may end a text."""
    from transformers import LlamaForCausalLM

    model, tokenizer = load_model(folder, dtype)
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    random = torch.Generator().manual_seed(1)
    prompts = torch.randint(3, STEP.vocab_size, (rows, PROMPT), generator=random)

    def ours() -> None:
        made = generate_tokens(model, prompts.tolist(), NEW, tokenizer.end, seed=1, forbid=(tokenizer.end,))
        assert made.lengths.tolist() == [NEW] * rows

    def peers() -> None:
        with torch.no_grad():
            made = theirs.generate(
                prompts, attention_mask=torch.ones_like(prompts), do_sample=True, top_k=0, min_new_tokens=NEW,
                max_new_tokens=NEW, pad_token_id=tokenizer.end, eos_token_id=tokenizer.end,
            )  # fmt: skip
        assert made.shape == (rows, PROMPT + NEW)

    what = f"generate, {rows} prompts of {PROMPT}, {dtype_name(dtype)}"
    return pair(what, ours, peers, bar, 5, f"{rows * NEW} tokens")


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name without its module."""
    return str(dtype).removeprefix("torch.")


def encoding(tokenizer: Tokenizer, texts: list[str]) -> list[Ratio]:
    """Time the encoding of a corpus on one thread, with words that the encoder has cached and with new ones.

    Both sides must return the same ids.
    """
    amount = f"{sum(len(text.encode()) for text in texts) / 1e6:.1f} MB"

    def theirs() -> list[list[int]]:
        return [tokenizer.rules.encode(text, add_special_tokens=False).ids for text in texts]

    assert [tokenizer.encode(text) for text in texts] == theirs(), "the ids are not identical"

    def known() -> None:
        tokenizer.encode_documents(texts)

    def afresh() -> None:
        Tokenizer(tokenizer.rules).encode_documents(texts)

    return [
        pair("encode, words met before", known, theirs, 8.0, 5, amount),
        pair("encode, every word new", afresh, theirs, 0.0, 5, amount),
    ]


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__).parse_args()
    import tempfile

    from transformers.utils import logging

    # Other programs disturb one thread less than several that wait for each other.
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    console = Console(width=110)
    texts, tokenizer = read_corpus()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        # In bfloat16 only where the CPU has instructions for it; elsewhere trainings use float32.
        for dtype in dict.fromkeys((compute_dtype("cpu"), torch.float32)):
            with console.status(f"training step, {dtype_name(dtype)}"):
                ratios.append(training(Path(folder), dtype, tokenizer))
            with console.status(f"generation, {dtype_name(dtype)}"):
                ratios.append(generation(Path(folder), dtype, 32, 1.5))
                ratios.append(generation(Path(folder), dtype, 256, SAMPLING_BARS[dtype]))
    with console.status("encoding"):
        ratios += encoding(tokenizer, texts)
    capability = torch.backends.cpu.get_cpu_capability()
    table = Table(title=f"ours against transformers, tokenizers · one thread · {capability}")
    for column in ("", "amount", "ours s", "theirs s", "ratio", "bar", ""):
        table.add_column(column, justify="right" if column else "left", no_wrap=True, min_width=len(column))
    for ratio in ratios:
        table.add_row(
            ratio.what, ratio.amount, f"{ratio.ours:.3f}", f"{ratio.theirs:.3f}", f"{ratio.value:.2f}",
            *((f"{ratio.bar:.2f}", "met" if ratio.met else "missed") if ratio.bar else ("", "")),
        )  # fmt: skip
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
