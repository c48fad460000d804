"""Ways of asking a model: what stands before an answer, and what ends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from model.batches import Example
from model.tokenizer import Tokenizer

Row = dict[str, Any]


class Asking(Protocol):
    """How a pair (`prompt`, `completion`, `source`) is put to a model."""

    @property
    def stops(self) -> frozenset[int]:
        """The tokens that end an answer."""

    def example(self, row: Row) -> Example:
        """The pair's prompt as the model sees it, and its completion with what ends it, in tokens."""


@dataclass(frozen=True)
class Chat:
    """As the assistant learned it: `<|user|>prompt<|assistant|>completion<|end|>`."""

    tokenizer: Tokenizer

    @property
    def stops(self) -> frozenset[int]:
        return frozenset({self.tokenizer.end})

    def example(self, row: Row) -> Example:
        completion = self.tokenizer.encode(row["completion"])
        return Example(self.tokenizer.prompt(row["prompt"]), [*completion, self.tokenizer.end])


@dataclass(frozen=True)
class Plain:
    """As running text, which a model that was never taught to answer goes on with."""

    tokenizer: Tokenizer

    @property
    def stops(self) -> frozenset[int]:
        return frozenset({self.tokenizer.end})

    def example(self, row: Row) -> Example:
        completion = self.tokenizer.encode(" " + row["completion"].lstrip())
        return Example(self.tokenizer.encode(row["prompt"]), [*completion, self.tokenizer.end])


class FewShot:
    """After a few answered prompts of the same source, one a line, so that a base model answers.

    Brown et al., Language models are few-shot learners, 2020, arXiv:2005.14165. An answer ends with its line.
    """

    def __init__(
        self, tokenizer: Tokenizer, shots: Iterable[Row], asked: Sequence[Row], count: int, room: int
    ) -> None:
        """Take up to `count` of the `shots` a source, such that each `asked` prompt fits `room` tokens."""
        self.tokenizer = tokenizer
        self.before: dict[str, str] = {}
        free: dict[str, int] = {}
        taken: dict[str, int] = {}
        for row in asked:
            need = room - len(tokenizer.encode(self._question(row)))
            free[row["source"]] = min(need, free.get(row["source"], room))
        for shot in shots:
            source = shot["source"]
            left = count - taken.get(source, 0)
            if not left or source not in free or "\n" in shot["prompt"] + shot["completion"].strip():
                continue
            line = f"{self._question(shot)} {shot['completion'].strip()}\n"
            length = len(tokenizer.encode(line))
            # An even share each: one long example would take the place of several short ones.
            if length <= free[source] // left:
                self.before[source] = self.before.get(source, "") + line
                free[source] -= length
                taken[source] = taken.get(source, 0) + 1

    @property
    def stops(self) -> frozenset[int]:
        tokenizer = self.tokenizer
        lines = (i for i in range(tokenizer.vocabulary) if b"\n" in tokenizer.piece_bytes(i))
        return frozenset({tokenizer.end, *lines})

    def example(self, row: Row) -> Example:
        encode = self.tokenizer.encode
        prompt = encode(self.before.get(row["source"], "") + self._question(row))
        return Example(prompt, encode(f" {row['completion'].strip()}\n"))

    @staticmethod
    def _question(row: Row) -> str:
        return f"Q: {row['prompt']}\nA:"
