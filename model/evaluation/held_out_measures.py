"""The measures of several models on the same held-out rows, with one model in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.data.chat_template import Row
from model.data.dataloader import rows_by_source
from model.data.tokenizer import Tokenizer
from model.evaluation.confidence_intervals import (
    bootstrap_ratio,
    mean_metrics,
    share_metrics,
    with_interval,
)
from model.evaluation.evaluate_config import EvaluateParameters
from model.evaluation.loss_changes import answer_logprobs, base_answer_loss_changes, loss_increase
from model.evaluation.perplexity import HeldOutText
from model.inference.scoring import Answer, Generator, best_f1, exact_match
from model.nn.transformer import Transformer
from model.training.pretrain import bits_per_byte
from model.training.process_group import ProcessGroup


@dataclass(frozen=True)
class UsedPairs:
    """The test pairs that are used: for free answers, for right answers, for the loss of completions."""

    prompts: list[Row]
    questions: list[Row]
    completions: list[Row]


class HeldOutMeasures:
    """What each model answered to the same prompts, and how likely given answers are to it.

    Attributes:
        said: The free answers to the prompts, by model.
        replies: The greedy answers to the questions, by model.
        metrics: The metrics so far; a metric's name begins with its model.
        text_digest: A digest of the text that the aligned model read.
    """

    def __init__(
        self, settings: EvaluateParameters, asked: UsedPairs, split: Path, seed: int, world: ProcessGroup
    ) -> None:
        """Prepare the measures.

        Args:
            settings: The parameters of the evaluation.
            asked: The held-out pairs.
            split: The folder of the stage split, with the held-out text.
            seed: The seed of the answers and the intervals.
            world: The processes that share the rows.
        """
        self.settings, self.asked, self.split, self.seed, self.world = settings, asked, split, seed, world
        self.said: dict[str, list[Answer]] = {}
        self.replies: dict[str, list[Answer]] = {}
        self.metrics: dict[str, float] = {}
        self.text_digest = ""
        self._losses: dict[str, tuple[list[float], list[int]]] = {}
        # Log-probabilities of one model's answers under another one, by both names.
        self._logprobs: dict[str, dict[str, list[float]]] = {}

    def ask_model(self, name: str, speaker: Generator, same_tokens: bool = True) -> None:
        """Let a model answer, and measure its answers and its losses on right ones.

        Args:
            name: The model's name.
            speaker: The model.
            same_tokens: Whether it has the tokenizer of the others. Losses a token of different tokenizers
                cannot be compared.
        """
        asked, longest = self.asked, self.settings.max_new_tokens
        # The same seed for each model: differences come from the models, not from the draws.
        said = self.said[name] = speaker.generate_answers(asked.prompts, longest, 1.0, self.seed)
        replies = self.replies[name] = speaker.generate_answers(asked.questions, longest, 0.0, self.seed)
        measured = {**_answer_statistics(said), **_measure_answers(asked.questions, replies)}
        self.metrics |= {f"{name}_{measure}": value for measure, value in measured.items()}
        if same_tokens:
            losses = self._losses[name] = speaker.row_losses(asked.completions)
            self.metrics |= _loss_metrics(f"{name}_completion_loss", *losses, self.seed)

    def read_text(self, name: str, model: Transformer, tokenizer: Tokenizer) -> None:
        """Measure a model's bits per byte of the held-out text, if that fills a context."""
        wanted, context = self.settings.text_sources, model.architecture.context_length
        texts = (row["text"] for row in rows_by_source(self.split / "test" / "text", wanted))
        # A window is read with its following token, and at least one window is read.
        tokens = max(self.settings.text_tokens, context) + 1 if self.settings.text_tokens else 0
        text = HeldOutText(texts, tokenizer, tokens)
        if name == "aligned":
            self.text_digest = f"{text.hash.hexdigest()}:{context}:{self.settings.text_tokens}"
        if text.num_windows(context):
            value = bits_per_byte(model, text, self.world, self.settings.text_tokens)
            self.metrics[f"{name}_bits_per_byte"] = value

    def weigh_answers(self, author: str, name: str, speaker: Generator) -> None:
        """Measure how likely earlier answers are to a model.

        Args:
            author: The model that gave them: `base`, of which its answers to the questions are taken, or
                `aligned`, of which its free answers are.
            name: The model's name.
            speaker: The model.
        """
        rows, answers = (self.asked.questions, self.replies) if author == "base" else (
            self.asked.prompts, self.said
        )  # fmt: skip
        self._logprobs.setdefault(author, {})[name] = answer_logprobs(speaker, rows, answers[author])

    def compare_likelihoods(self) -> dict[str, float]:
        """Return how far the aligned model is from SFT's, and what it lost of SFT's and the base's."""
        aligned, sft = (self._logprobs["aligned"][name] for name in ("aligned", "sft"))
        # The mean over the aligned model's own answers estimates KL(aligned ‖ SFT) of a whole answer.
        ratios = [mine - theirs for mine, theirs in zip(aligned, sft, strict=True)]
        found = mean_metrics("kl", ratios, self.seed)
        found |= loss_increase("loss_increase", self._losses["aligned"][0], self._losses["sft"][0], self.seed)
        if "base" in self._logprobs:
            found |= base_answer_loss_changes(self._logprobs["base"], self.seed)
        return found


def _measure_answers(questions: Sequence[Row], replies: Sequence[Answer]) -> dict[str, float]:
    """Return mean exact match and F1 against each question's references; empty for no questions."""
    pairs = [
        (reply.text, row.get("references") or [row["completion"]])
        for row, reply in zip(questions, replies, strict=True)
    ]
    if not pairs:
        return {}
    return {
        "exact_match": float(np.mean([exact_match(*pair) for pair in pairs])),
        "f1": float(np.mean([best_f1(*pair) for pair in pairs])),
    }


def _answer_statistics(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the shares of answers that ended by themselves and that are distinct, and the mean length.

    The length is in tokens without the end token.
    """
    return {
        **share_metrics("ends_by_itself", [answer.ended for answer in answers]),
        "distinct": len({answer.text for answer in answers}) / len(answers),
        "length": float(np.mean([len(answer.tokens) for answer in answers])),
    }


def _loss_metrics(name: str, sums: Sequence[float], tokens: Sequence[int], seed: int) -> dict[str, float]:
    """Return the mean loss a token as a metric; empty for no rows."""
    if not sums:
        return {}
    interval = bootstrap_ratio(np.array(sums), np.array(tokens, float), seed)
    return with_interval(name, sum(sums) / sum(tokens), interval, len(sums))
