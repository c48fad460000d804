"""Prompt formats: the text before an answer, and the tokens that end it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

from model.data.chat_template import Row, Turn, chat_prompt, running_text, truncate_turns
from model.data.dataloader import Example
from model.data.tokenizer import Tokenizer

# The largest number of answered prompts that are kept of each source to take few-shot examples from.
POOL = 256


class PromptFormat(Protocol):
    """The protocol of a way to put a pair (`prompt`, `completion`, `source`) to a model."""

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Return the tokens that end an answer."""

    def encode_example(self, row: Row) -> Example:
        """Return the pair's prompt as the model sees it, and its completion with its end, as tokens."""


@dataclass(frozen=True)
class Chat:
    """The format that the assistant learned, as in `<|user|>prompt<|assistant|>completion<|end|>`.

    A history comes before it. The oldest turns are left out of a prompt that is longer than `room` tokens.
    """

    tokenizer: Tokenizer
    room: int | None = None

    @property
    def stop_tokens(self) -> frozenset[int]:
        return frozenset({self.tokenizer.end})

    def encode_example(self, row: Row) -> Example:
        prompt, left_out = chat_prompt(row, self.tokenizer, self.room)
        return Example(prompt, self.tokenizer.encode_answer(row["completion"]), left_out)


@dataclass(frozen=True)
class Plain:
    """Running text, for a base model, which has only learned to continue text; `room` as for Chat."""

    tokenizer: Tokenizer
    room: int | None = None

    @property
    def stop_tokens(self) -> frozenset[int]:
        return frozenset({self.tokenizer.end})

    def encode_example(self, row: Row) -> Example:
        history = row.get("history") or []
        kept = truncate_turns(history, lambda turns: len(self._plain_prompt(row, turns)), self.room)
        completion = self.tokenizer.encode(" " + row["completion"].lstrip())
        return Example(
            self._plain_prompt(row, kept), [*completion, self.tokenizer.end], len(history) - len(kept)
        )

    def _plain_prompt(self, row: Row, turns: Sequence[Turn]) -> list[int]:
        return self.tokenizer.encode_opening(running_text(row["prompt"], turns))


class FewShot:
    """A prompt after a few answered prompts of the same source, which make a base model answer.

    Brown et al., Language models are few-shot learners, 2020, arXiv:2005.14165. Each example is a document of
    its own: a base model knows no other border between two things.
    """

    def __init__(self, tokenizer: Tokenizer, shots: Iterable[Row], count: int, room: int) -> None:
        """Put up to `count` of the `shots` before each prompt, as many as fit `room` tokens with it."""
        self.plain = Plain(tokenizer, room)
        self.count, self.room = count, room
        self.shots: dict[str, list[list[int]]] = {}
        for shot in shots:
            known = self.shots.setdefault(shot["source"], [])
            # Some examples are too long for a given prompt, so more than `count` are kept.
            if len(known) < POOL:
                known.append(self.plain.encode_example(shot).tokens)

    @property
    def stop_tokens(self) -> frozenset[int]:
        return self.plain.stop_tokens

    def encode_example(self, row: Row) -> Example:
        asked = self.plain.encode_example(row)
        shots = self._fitting_shots(row["source"], self.room - len(asked.prompt))
        return Example([*chain.from_iterable(shots), *asked.prompt], asked.completion)

    def count_examples(self, row: Row) -> int:
        """Return the number of worked examples that fit before a prompt."""
        room = self.room - len(self.plain.encode_example(row).prompt)
        return len(self._fitting_shots(row["source"], room))

    def _fitting_shots(self, source: str, room: int) -> list[list[int]]:
        """Return the first shots that take at most an even share of the room each, as many as possible."""
        for count in range(self.count, 0, -1):
            short = (shot for shot in self.shots.get(source, []) if len(shot) <= room // count)
            if len(found := list(islice(short, count))) == count:
                return found
        return []
