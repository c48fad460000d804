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


def base_answer_loss_changes(
    speakers: Mapping[str, Generator], questions: Sequence[Row], answers: Sequence[Answer], seed: int
) -> dict[str, float]:
    """Return by how much the trained models' losses on an open model's own answers exceed its own.

    An open model can be asked before any training here. A model that forgets what the open model knew gives
    less probability to its answers.

    Args:
        speakers: The models by name: `base`, `sft` and `aligned`.
        questions: Questions of no training here.
        answers: The base's greedy answers to them.
        seed: The seed of the intervals.
    """
    losses = {
        name: [-value for value in _answer_logprobs(speakers[name], questions, answers)]
        for name in ("base", "sft", "aligned")
    }
    return {
        **loss_increase("base_answer_loss_change", losses["aligned"], losses["base"], seed),
        **loss_increase("sft_base_answer_loss_change", losses["sft"], losses["base"], seed),
    }


def log_ratios(
    aligned: Generator, sft: Generator, prompts: Sequence[Row], answers: Sequence[Answer]
) -> list[float]:
    """Return log p(answer) under the aligned model less that under the assistant, a row, in nats.

    The mean over the aligned model's own answers estimates KL(aligned ‖ SFT) of a whole completion.
    """
    both = [_answer_logprobs(speaker, prompts, answers) for speaker in (aligned, sft)]
    return [mine - theirs for mine, theirs in zip(*both, strict=True)]


def _answer_logprobs(speaker: Generator, prompts: Sequence[Row], answers: Sequence[Answer]) -> list[float]:
    """Return the log-probability of each answer with its end, after its prompt, in nats."""
    examples = []
    for row, answer in zip(prompts, answers, strict=True):
        prompt = speaker.asking.encode_example(row).prompt
        examples.append(Example(prompt, answer.row[len(prompt) :]))
    return completion_logprobs(speaker.model, examples, speaker.tokenizer.end, map_chunks=speaker.map_chunks)
