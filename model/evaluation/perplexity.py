"""Losses of a model on rows that it may never have seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from model.data.chat_template import Row
from model.data.dataloader import TokenFile
from model.data.hf_checkpoint import load_model
from model.data.tokenizer import Tokenizer
from model.inference.prompting import Chat
from model.inference.scoring import Generator
from model.training.devices import compute_dtype
from model.training.pretrain import bits_per_byte, token_lengths
from model.training.process_group import ProcessGroup

# The number of test documents that are encoded at a time.
DOCUMENTS = 64


class HeldOutText(TokenFile):
    """Documents in a model's own tokens, with end tokens: models with any tokenizer can be measured."""

    def __init__(self, texts: Iterable[str], tokenizer: Tokenizer, tokens: int = 0) -> None:
        """Encode documents until there are `tokens` tokens (0: all); no more are read."""
        parts = [np.zeros(0, tokenizer.dtype)]
        held, documents, self.hash = 0, iter(texts), hashlib.sha256()
        while (not tokens or held < tokens) and (some := list(islice(documents, DOCUMENTS))):
            parts.append(tokenizer.encode_documents(some))
            held += len(parts[-1])
            self.hash.update(json.dumps(some).encode())
        # An array in memory in place of a TokenFile's mapped file; both are indexed in the same way.
        self.tokens = np.concatenate(parts)  # type: ignore[assignment]
        self.lengths = token_lengths(tokenizer)


@torch.no_grad()
def measure_losses(folder: Path, texts: Iterable[str], pairs: Iterable[Row], tokens: int) -> dict[str, float]:
    """Return the losses of the model in `folder`, on the CPU, as evaluation measures them.

    Args:
        folder: A model folder.
        texts: Texts for `bits_per_byte`, which is returned if they fill a context.
        pairs: Pairs for `completion_loss` in nats per token, which is returned if one fits the context.
        tokens: The approximate number of tokens of each to use.
    """
    # On the CPU: the stage drift runs where no device is reserved for it.
    model, tokenizer = load_model(folder, compute_dtype("cpu"), mapped=True)
    context = model.architecture.context_length
    metrics = {}
    text = HeldOutText(texts, tokenizer, max(tokens, context) + 1)
    if text.num_windows(context):
        metrics["bits_per_byte"] = bits_per_byte(model, text, ProcessGroup(device="cpu"), tokens)
    speaker = Generator(model, tokenizer, Chat(tokenizer, context // 2))
    rows = list(_select_pairs(speaker, pairs, tokens))
    if rows:
        metrics["completion_loss"] = speaker.mean_loss(rows)
    return metrics


def _select_pairs(speaker: Generator, pairs: Iterable[Row], tokens: int) -> Iterator[Row]:
    """Yield the first pairs that fit the context, until they have `tokens` tokens."""
    held = 0
    for row in pairs:
        length = len(speaker.asking.encode_example(row).tokens)
        if length <= speaker.model.architecture.context_length:
            held += length
            yield row
        if held >= tokens:
            break
