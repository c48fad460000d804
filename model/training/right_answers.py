"""Held-out right answers, and a model's loss on them: a measure of what a training must not lose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor

from model.data.chat_template import Row
from model.data.chunks import PASS_ROWS
from model.data.dataloader import Example
from model.data.tokenizer import Tokenizer
from model.inference.prompting import Chat
from model.inference.scoring import completion_logprobs
from model.nn.transformer import Transformer
from model.training.process_group import ProcessGroup

# Every evaluation of RLHF reads all of them, so there are no more than a bound on the loss needs.
MOST_ANSWERS = 256


def read_right_answers(rows: Iterable[Row], tokenizer: Tokenizer, context: int) -> list[Example]:
    """Return the first pairs that fit the context with their whole history, as examples."""
    chat = Chat(tokenizer, context)
    examples = (chat.encode_example(row) for row in rows)
    fitting = (each for each in examples if len(each.tokens) <= context and not each.left_out)
    return list(islice(fitting, MOST_ANSWERS))


def mean_completion_loss(
    model: Transformer, examples: Sequence[Example], padding: int, world: ProcessGroup
) -> float:
    """Return the mean loss of the completions, in nats a token; NaN if there are none."""
    if not examples:
        return math.nan

    def chunk_sums(part: slice) -> Tensor:
        mine = by_length[part]
        nats = -sum(completion_logprobs(model, mine, padding))
        # Sums and counts are added, not means: chunks have different numbers of tokens.
        tokens = sum(len(each.completion) for each in mine)
        return torch.tensor([nats, tokens], dtype=torch.float64, device=world.device)

    # In order of length, so that little of a chunk is padding.
    by_length = sorted(examples, key=lambda each: len(each.tokens))
    sums = world.sum_chunks(len(by_length), PASS_ROWS, chunk_sums)
    return (sums[0] / sums[1]).item()
