"""Batches as a function of (seed, step), so that a resumed training sees the same ones.

Random numbers come from Philox, a counter-based generator (Salmon et al., Parallel random numbers: as easy as
1, 2, 3, 2011).
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.errors import UserError

# The checks before a run read rows and tokens but make no tensors, and PyTorch takes more than a second to
# import.
if TYPE_CHECKING:
    from torch import Tensor

# The value that torch's cross-entropy ignores.
IGNORED = -100


def seeded_rng(seed: int, *path: int) -> np.random.Generator:
    """Return a generator for the part of a run that `path` names, such as (epoch, stratum).

    Its numbers do not depend on earlier draws.
    """
    # Philox is counter-based: its state follows from the key alone, whatever was drawn before.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *path])))


# A step may cross the border of two epochs; more permutations are not needed at a time.
@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, units: int) -> np.ndarray:
    return seeded_rng(seed, epoch, units).permutation(units)


def batch_order(seed: int, step: int, batch: int, units: int) -> np.ndarray:
    """Return the numbers of the units that a step learns from, [batch]; each unit comes once an epoch.

    Args:
        seed: The seed of the order.
        step: The number of the step, from 0.
        batch: The units of a step.
        units: The number of all units.
    """
    first = step * batch
    places = np.arange(first, first + batch)
    return np.array([_epoch_order(seed, int(place // units), units)[place % units] for place in places])


def map_tokens(folder: Path, split: str) -> np.ndarray:
    """Return the tokens of one split, [tokens], from the output of the stage tokenizer."""
    path, dtype = folder / f"{split}.bin", json.loads((folder / "tokens.json").read_text())["dtype"]
    if not path.stat().st_size:
        # An empty file cannot be mapped.
        return np.zeros(0, dtype)
    # Mapped: the tokens of a large corpus do not fit into memory, and processes share the pages.
    return np.memmap(path, dtype=dtype, mode="r")


class TokenFile:
    """The memory-mapped tokens of one split; `lengths` [V] is the number of text bytes of each token."""

    def __init__(self, folder: Path, split: str, lengths: np.ndarray) -> None:
        self.tokens = map_tokens(folder, split)
        self.lengths = lengths

    def num_windows(self, context: int) -> int:
        """Return the number of windows of `context` tokens, each with its following token, in the file."""
        return max(0, (len(self.tokens) - 1) // context)

    def read_windows(self, starts: np.ndarray, context: int) -> tuple[Tensor, Tensor]:
        """Return the windows that start at the given tokens: inputs and targets, [B, context] int64 each."""
        import torch

        # int64, as torch's embedding takes no unsigned 16-bit ids.
        rows = np.stack([self.tokens[start : start + context + 1] for start in starts]).astype(np.int64)
        whole = torch.from_numpy(rows)
        return whole[:, :-1], whole[:, 1:]

    def text_bytes(self, starts: np.ndarray, context: int) -> int:
        """Return the number of text bytes that the targets of these windows stand for."""
        return int(sum(self.lengths[self.tokens[start + 1 : start + context + 1]].sum() for start in starts))


class WindowOrder:
    """Windows of a token file by step: each once an epoch, at another offset in each epoch.

    A document longer than the context continues in the next window. In each epoch, fewer than 2 * `context`
    tokens at the two ends of the file are in no window.
    """

    def __init__(
        self,
        file: TokenFile,
        context: int,
        batch: int,
        seed: int,
        what: str = "training text",
        keys: str = "pretrain.batch_size or architecture.context_length",
    ) -> None:
        """Prepare the windows.

        Args:
            file: The tokens.
            context: The length of a window in tokens.
            batch: The windows of a step.
            seed: The seed of the order.
            what: The name of the text for the message.
            keys: The keys of the preset that the message proposes to lower.

        Raises:
            UserError: The text fills less than one batch.
        """
        # One window less than fits, so that every offset has the same number of windows.
        self.windows = file.num_windows(context) - 1
        if self.windows < batch:
            raise UserError(
                f"the {what} fills {max(self.windows, 0)} windows of {context} tokens, fewer than one "
                f"batch of {batch}; add text, or lower {keys}"
            )
        self.file, self.context, self.batch, self.seed = file, context, batch, seed

    def window_starts(self, step: int) -> np.ndarray:
        """Return the first tokens of the windows of a step, [batch]."""
        places = step * self.batch + np.arange(self.batch)
        epochs, which = np.unique(places // self.windows, return_inverse=True)
        phases = np.array([seeded_rng(self.seed, int(epoch)).integers(self.context) for epoch in epochs])
        return batch_order(self.seed, step, self.batch, self.windows) * self.context + phases[which]


@dataclass(frozen=True)
class Example:
    """A prompt with its completion, tokenised; the end token belongs to the completion.

    `left_out` counts the oldest turns that were dropped so that the prompt fits.
    """

    prompt: list[int]
    completion: list[int]
    left_out: int = 0

    @property
    def tokens(self) -> list[int]:
        """Return the tokens of prompt and completion."""
        return self.prompt + self.completion


class Examples:
    """Examples whose tokens are in one array, four bytes each: a tenth of the memory of lists of numbers."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._tokens = array("I")
        self._stops, self._prompts, self._left_out = array("Q", [0]), array("I"), array("I")
        for example in examples:
            self._tokens.extend(example.tokens)
            self._stops.append(len(self._tokens))
            self._prompts.append(len(example.prompt))
            self._left_out.append(example.left_out)

    def __len__(self) -> int:
        return len(self._prompts)

    def __getitem__(self, index: int) -> Example:
        tokens = self._tokens[self._stops[index] : self._stops[index + 1]].tolist()
        prompt = self._prompts[index]
        return Example(tokens[:prompt], tokens[prompt:], self._left_out[index])

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def num_targets(self, index: int) -> int:
        """Return the number of tokens of an example's completion."""
        return self._stops[index + 1] - self._stops[index] - self._prompts[index]

    @property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each example."""
        return [stop - start for start, stop in pairwise(self._stops)]


@dataclass(frozen=True)
class Packing:
    """Rows that hold several examples each, as lists of example numbers. Made once, before the first step."""

    rows: list[list[int]]
    dropped: int

    @staticmethod
    def pack_examples(lengths: Sequence[int], context: int) -> Packing:
        """Pack by best-fit decreasing: the longest first, each into the fullest row that has room for it.

        An example longer than a row is dropped and counted. Source: Johnson, Near-optimal bin packing
        algorithms, 1973.

        Args:
            lengths: The length of each example in tokens.
            context: The length of a row in tokens.
        """
        # Ties are broken by number, so that the packing is the same everywhere.
        fitting = sorted((i for i, n in enumerate(lengths) if n <= context), key=lambda i: (-lengths[i], i))
        rows: list[list[int]] = []
        # Rows by their free space: finding a row takes at most `context` steps, whatever the number of rows.
        by_room: list[list[int]] = [[] for _ in range(context + 1)]
        for i in fitting:
            need = lengths[i]
            room = next((r for r in range(need, context + 1) if by_room[r]), None)
            if room is None:
                rows.append([i])
                by_room[context - need].append(len(rows) - 1)
            else:
                row = by_room[room].pop()
                rows[row].append(i)
                by_room[room - need].append(row)
        return Packing(rows, len(lengths) - len(fitting))


@dataclass(frozen=True)
class PackedBatch:
    """A batch of packed rows.

    `tokens`, `targets` (-100 where not learned) and `documents` are [B, T] int64 each. `stops` [B, M] int64
    has the end of each document in its row, the padding being the last; after it, all are T.
    """

    tokens: Tensor
    targets: Tensor
    documents: Tensor
    stops: Tensor

    @property
    def num_targets(self) -> int:
        """Return the number of targets that are learned."""
        return int((self.targets != IGNORED).sum())

    @staticmethod
    def from_rows(
        rows: Sequence[Sequence[Example]], context: int, padding: int, most: int = 0
    ) -> PackedBatch:
        """Lay out rows of examples: each example is one document, and only its completion is a target.

        Inputs and targets are shifted by one token. An example of n tokens therefore takes n - 1 places, and
        its last token is a target only.

        Args:
            rows: The examples of each row.
            context: The length of a row in tokens.
            padding: The token that fills the rest of a row.
            most: The number of documents for which `stops` has room in a row, with the padding; 0: as many as
                are needed.
        """
        import torch

        shape = (len(rows), context)
        tokens = np.full(shape, padding, dtype=np.int64)
        stops = np.full((len(rows), most or max(map(len, rows), default=0) + 1), context, dtype=np.int64)
        targets = np.full(shape, IGNORED, dtype=np.int64)
        # Padding is a document of its own, which no example attends to.
        documents = np.full(shape, -1, dtype=np.int64)
        for b, row in enumerate(rows):
            at = 0
            for number, example in enumerate(row):
                sequence = example.tokens
                stop = at + len(sequence) - 1
                tokens[b, at:stop] = sequence[:-1]
                targets[b, at + len(example.prompt) - 1 : stop] = example.completion
                documents[b, at:stop] = number
                stops[b, number] = stop
                at = stop
        return PackedBatch(*(torch.from_numpy(part) for part in (tokens, targets, documents, stops)))


def length_order(lengths: Sequence[int]) -> list[int]:
    """Return the numbers of rows from the shortest to the longest; equal lengths keep their order."""
    return sorted(range(len(lengths)), key=lambda i: (lengths[i], i))


def pad_rows(rows: Sequence[Sequence[int]], padding: int, width: int = 0) -> tuple[Tensor, Tensor]:
    """Return left-aligned rows as tokens [B, T] int64 with their lengths [B] int64.

    T is `width`, or the longest row rounded up to a multiple of 8.
    """
    import torch

    lengths = [len(row) for row in rows]
    width = width or math.ceil(max(lengths, default=0) / 8) * 8
    tokens = np.full((len(rows), width), padding, dtype=np.int64)
    for b, row in enumerate(rows):
        tokens[b, : len(row)] = row
    return torch.from_numpy(tokens), torch.tensor(lengths, dtype=torch.int64)


def read_rows(path: Path) -> list[dict]:
    """Return all rows of a JSON Lines file, or of a folder's shards in order."""
    return list(each_row(path))


def rows_by_source(path: Path, sources: Sequence[str]) -> Iterator[dict]:
    """Yield those rows of `each_row` whose source is named; all if none is."""
    return (row for row in each_row(path) if not sources or row["source"] in sources)


def each_row(path: Path) -> Iterator[dict]:
    """Yield the rows of a JSON Lines file, or of a folder's shards in the order of their names.

    Raises:
        UserError: There is no such file, or a line is broken; the message has file and line.
    """
    shards = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not shards or not shards[0].exists():
        raise UserError(f"{path} is missing; recompute the stage that writes it")
    for shard in shards:
        with shard.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(
                        f"{shard}, line {number}: not a JSON object ({error.msg}); expected one object a line"
                    ) from error
