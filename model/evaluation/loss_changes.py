"""Changes of the likelihood of given answers from one model to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from model.data.chat_template import Row
from model.data.dataloader import Example
from model.evaluation.confidence_intervals import bootstrap_ratio, with_interval
from model.inference.scoring import Answer, Generator, completion_logprobs


def loss_increase(name: str, after: Sequence[float], before: Sequence[float], seed: int) -> dict[str, float]:
    """Return the relative increase of the summed loss as a metric; empty for no rows.

    Args:
        name: The metric's name.
        after: The loss of each row in nats.
        before: The loss of the same rows under the model that is compared with.
        seed: The seed of the interval.
    """
    now, then = np.array(after), np.array(before)
    if not len(now) or not then.sum() > 0:
        return {}
    low, high = bootstrap_ratio(now, then, seed)
    value = float(now.sum() / then.sum()) - 1
    return with_interval(name, value, (low - 1, high - 1), len(now))


def base_answer_loss_changes(logprobs: Mapping[str, Sequence[float]], seed: int) -> dict[str, float]:
    """Return by how much the trained models' losses on an open model's own answers exceed its own.

    An open model can be asked before any training here. A model that forgets what the open model knew gives
    less probability to its answers.

    Args:
        logprobs: The log-probabilities of the base's greedy answers to questions of no training here, in
            nats, under `base`, `sft` and `aligned`.
        seed: The seed of the intervals.
    """
    losses = {name: [-value for value in values] for name, values in logprobs.items()}
    return {
        **loss_increase("base_answer_loss_change", losses["aligned"], losses["base"], seed),
        **loss_increase("sft_base_answer_loss_change", losses["sft"], losses["base"], seed),
    }


def answer_logprobs(speaker: Generator, prompts: Sequence[Row], answers: Sequence[Answer]) -> list[float]:
    """Return the log-probability of each answer with its end, after its prompt, in nats.

    Args:
        speaker: The model that judges the answers. It need not have given them.
        prompts: The prompts.
        answers: An answer to each prompt, by a model with the same tokens.
    """
    examples = []
    for row, answer in zip(prompts, answers, strict=True):
        prompt = speaker.asking.encode_example(row).prompt
        examples.append(Example(prompt, answer.row[len(prompt) :]))
    return completion_logprobs(speaker.model, examples, speaker.tokenizer.end, map_chunks=speaker.map_chunks)
