"""Answers of a model, and the likelihood that it gives to right answers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.data.chat_template import Row
from model.data.chunks import PASS_ROWS, MapChunks, map_by_length, map_in_turn, rows_of_pass
from model.data.dataloader import Example
from model.data.token_layout import lay_out_rows
from model.data.tokenizer import Tokenizer
from model.inference.generate import generate_in_parts
from model.inference.prompting import PromptFormat
from model.nn.losses import linear_logprobs
from model.nn.transformer import Transformer


@dataclass(frozen=True)
class Answer:
    """An answer of a model.

    `tokens` has no stop token. `row` is the prompt with the answer and its stop token, for a reward model.
    `said` is the exact text. `ended` is true if the model produced a stop token.
    """

    tokens: list[int]
    row: list[int]
    said: str
    ended: bool

    @property
    def text(self) -> str:
        """Return the text without white space at its ends."""
        return self.said.strip()


@dataclass(frozen=True)
class Generator:
    """A model with a prompt format.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        asking: The prompt format.
        parts: The number of parts in which prompts are answered; processes may share them.
        map_chunks: Shares chunks of rows among processes.
    """

    model: Transformer
    tokenizer: Tokenizer
    asking: PromptFormat
    parts: int = 1
    map_chunks: MapChunks = map_in_turn

    def generate_answers(
        self, rows: Sequence[Row], new_tokens: int, temperature: float, seed: int
    ) -> list[Answer]:
        """Return answers to the prompts of `rows`, in their order.

        Args:
            rows: The pairs whose prompts are answered.
            new_tokens: The most tokens of an answer.
            temperature: The sampling temperature; 0: greedy.
            seed: The seed of the draws.
        """
        if not rows:
            return []
        prompts = [self.asking.encode_example(row).prompt for row in rows]
        said = generate_in_parts(
            self.model, prompts, new_tokens, self.tokenizer.end,
            temperature=temperature, seed=seed, parts=self.parts, map_chunks=self.map_chunks,
        )  # fmt: skip
        stops = self.asking.stop_tokens
        answers = []
        for prompt, kept in zip(prompts, said, strict=True):
            # A format may have further stop tokens besides the end token that the sampler knows.
            stop = next((index for index, token in enumerate(kept) if token in stops), None)
            body = kept[:stop]
            answers.append(Answer(body, prompt + kept, self.tokenizer.decode(body), stop is not None))
        return answers

    def row_losses(self, rows: Sequence[Row]) -> tuple[list[float], list[int]]:
        """Return the loss of each row's completion with its end, in nats, and its number of tokens.

        Rows longer than the context are left out.
        """
        examples = [self.asking.encode_example(row) for row in rows]
        # Truncated rows would give the loss of another text.
        examples = [e for e in examples if len(e.tokens) <= self.model.architecture.context_length]
        sums = completion_logprobs(self.model, examples, self.tokenizer.end, map_chunks=self.map_chunks)
        return [-value for value in sums], [len(example.completion) for example in examples]

    def mean_loss(self, rows: Sequence[Row]) -> float:
        """Return the mean loss of the rows' completions with their ends, in nats per token; 0 for no rows."""
        sums, tokens = self.row_losses(rows)
        return sum(sums) / max(1, sum(tokens))


@torch.no_grad()
def completion_logprobs(
    model: Transformer,
    examples: Sequence[Example],
    padding: int,
    size: int = PASS_ROWS,
    map_chunks: MapChunks = map_in_turn,
) -> list[float]:
    """Return the log-probability of each example's completion after its prompt, in nats.

    Args:
        model: The model.
        examples: The examples, none longer than the context.
        padding: The token that fills shorter rows.
        size: The most rows of one pass; long rows are fewer (`rows_of_pass`).
        map_chunks: Shares the passes among processes.
    """
    lengths = [len(example.tokens) for example in examples]

    def sum_chosen(chosen: list[int]) -> Tensor:
        return sum_logprobs(model, [examples[i] for i in chosen], padding).cpu()

    size = rows_of_pass(size, max(lengths, default=1))
    sums: list[float] = map_by_length(lengths, sum_chosen, size, map_chunks).tolist()
    return sums


def sum_logprobs(model: Transformer, examples: Sequence[Example], padding: int) -> Tensor:
    """Return the log-probability of each example's completion after its prompt, [B], with its derivative.

    Args:
        model: The model.
        examples: The examples of one pass, none longer than the context and a token.
        padding: The token that fills shorter rows.
    """
    context, device = model.architecture.context_length, str(model.output_weight.device)
    # The last token is only predicted.
    layout = lay_out_rows([example.tokens[:-1] for example in examples], padding, context, device)
    hidden = model(layout.tokens, documents=layout.documents).flatten(0, 1)
    counts = torch.tensor([len(example.completion) for example in examples], device=device)
    places = (layout.ends - counts + 1).repeat_interleave(counts)
    places += torch.cat([torch.arange(count, device=device) for count in counts.tolist()])
    answers = torch.tensor([token for example in examples for token in example.completion], device=device)
    logprobs = linear_logprobs(hidden[places], model.output_weight, answers)
    return torch.stack([part.sum() for part in logprobs.split(counts.tolist())])


def normalise_answer(text: str) -> str:
    """Return an answer as SQuAD compares it: lower case, no punctuation, no articles, single spaces.

    Rajpurkar et al., SQuAD, 2016, arXiv:1606.05250.
    """
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """Return 1 if the normalised answer is one of the references, else 0."""
    return float(normalise_answer(answer) in {normalise_answer(reference) for reference in references})


def best_f1(answer: str, references: Sequence[str]) -> float:
    """Return the best word-level F1 of the normalised answer over the references."""
    return max((_word_f1(answer, reference) for reference in references), default=0.0)


def _word_f1(answer: str, reference: str) -> float:
    said, right = (normalise_answer(text).split() for text in (answer, reference))
    shared = (Counter(said) & Counter(right)).total()
    # Two empty answers agree; one empty answer shares nothing.
    if not said or not right:
        return float(said == right)
    return 2 * shared / (len(said) + len(right))
