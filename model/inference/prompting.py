"""Ways of asking a model: what stands before an answer, and what ends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

from model.data.chat_template import Row, Turn, chat_prompt, running_text, truncate_turns
from model.data.dataloader import Example
from model.data.tokenizer import Tokenizer

POOL = 256  # answered prompts a source, from which few-shot examples are taken


class PromptFormat(Protocol):
    """How a pair (`prompt`, `completion`, `source`) is put to a model."""

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""

    def encode_example(self, row: Row) -> Example:
        """The pair's prompt as the model sees it, and its completion with what ends it, in tokens."""


@dataclass(frozen=True)
class Chat:
    """As the assistant learned it: `<|user|>prompt<|assistant|>completion<|end|>`, after its history.

    The oldest turns are left out of a prompt that is longer than `room` tokens.
    """

    tokenizer: Tokenizer
    room: int | None = None

    @property
    def stop_tokens(self) -> frozenset[int]:
        return frozenset({self.tokenizer.end})

    def encode_example(self, row: Row) -> Example:
        prompt, left_out = chat_prompt(row, self.tokenizer, self.room)
        completion = self.tokenizer.encode(row["completion"])
        return Example(prompt, [*completion, self.tokenizer.end], left_out)


@dataclass(frozen=True)
class Plain:
    """As running text, which a model that was never taught to answer goes on with; `room` as for Chat."""

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
        return self.tokenizer.encode(running_text(row["prompt"], turns))


class FewShot:
    """After a few answered prompts of the same source, so that a base model answers.

    Brown et al., Language models are few-shot learners, 2020, arXiv:2005.14165. Each is a document:
    a model that has only read knows no other way in which one thing ends and the next begins.
    """

    def __init__(self, tokenizer: Tokenizer, shots: Iterable[Row], count: int, room: int) -> None:
        """Up to `count` of the `shots` go before a prompt, such that both fit `room` tokens."""
        self.plain = Plain(tokenizer, room)
        self.count, self.room = count, room
        self.shots: dict[str, list[list[int]]] = {}
        for shot in shots:
            known = self.shots.setdefault(shot["source"], [])
            if len(known) < POOL:
                known.append(self.plain.encode_example(shot).tokens)

    @property
    def stop_tokens(self) -> frozenset[int]:
        return self.plain.stop_tokens

    def encode_example(self, row: Row) -> Example:
        asked = self.plain.encode_example(row)
        shots = self._fitting_shots(row["source"], self.room - len(asked.prompt))
        return Example([*chain.from_iterable(shots), *asked.prompt], asked.completion)

    def _fitting_shots(self, source: str, room: int) -> list[list[int]]:
        """The first shots that take an even share of the room each, or less: as many as there are."""
        for count in range(self.count, 0, -1):
            short = (shot for shot in self.shots.get(source, []) if len(shot) <= room // count)
            if len(found := list(islice(short, count))) == count:
                return found
        return []
