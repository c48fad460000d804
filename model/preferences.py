"""People's preferences for the reward model: groups to learn from, and pairs held out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.batches import generator, read_rows
from model.losses import bradley_terry_loss
from model.sft import examples_of
from model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Group:
    """Texts that are compared with each other: token rows, and which of them is better than which."""

    rows: list[list[int]]
    better: list[int]
    worse: list[int]


class Labels:
    """The training labels, tokenised: groups of texts as a function of the epoch."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, context: int, size: int, margin: float) -> None:
        ratings = read_rows(folder / "train.ratings.jsonl")
        comparisons = read_rows(folder / "train.comparisons.jsonl")
        self.prompts = sorted({row["prompt"] for row in [*ratings, *comparisons]})
        self.size, self.margin = size, margin
        self.ratings = [example.tokens[-context:] for example in examples_of(ratings, tokenizer)]
        self.scores = [float(row["score"]) for row in ratings]
        self.chosen, self.rejected = (
            [
                example.tokens[-context:]
                for example in examples_of(
                    [{"prompt": row["prompt"], "completion": row[side]} for row in comparisons], tokenizer
                )
            ]
            for side in ("chosen", "rejected")
        )
        self.strata = _by_stratum(ratings)
        self.compared = _by_stratum(comparisons)
        self.groups = sum(len(rows) // size for rows in self.strata.values()) + sum(
            len(rows) // (size // 2) for rows in self.compared.values()
        )

    def epoch(self, seed: int, epoch: int) -> list[Group]:
        """Every label once, but for what fills no group; the order of the groups is that of the strata."""
        groups = []
        for stratum, rows in enumerate(self.strata.values()):
            for chosen in self._chunks(rows, self.size, generator(seed, epoch, 0, stratum)):
                groups.append(self._rated(chosen))
        for stratum, rows in enumerate(self.compared.values()):
            for chosen in self._chunks(rows, self.size // 2, generator(seed, epoch, 1, stratum)):
                groups.append(
                    Group(
                        [self.chosen[i] for i in chosen] + [self.rejected[i] for i in chosen],
                        list(range(len(chosen))),
                        list(range(len(chosen), 2 * len(chosen))),
                    )
                )
        return groups

    @staticmethod
    def _chunks(rows: list[int], size: int, random: np.random.Generator) -> Iterator[list[int]]:
        mixed = random.permutation(rows)
        for start in range(0, len(rows) - size + 1, size):
            yield mixed[start : start + size].tolist()

    def _rated(self, chosen: list[int]) -> Group:
        pairs = [
            (a, b)
            for a, first in enumerate(chosen)
            for b, second in enumerate(chosen)
            if self.scores[first] - self.scores[second] >= self.margin
        ]
        return Group([self.ratings[i] for i in chosen], [a for a, _ in pairs], [b for _, b in pairs])


def _by_stratum(rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    strata: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        strata[f"{row['aspect']}/{row['source']}"].append(i)
    return dict(sorted(strata.items()))


class HeldOutPairs:
    """Held-out pairs of texts of one aspect and source; each text is scored once."""

    def __init__(self, path: Path, tokenizer: Tokenizer, context: int) -> None:
        pairs = read_rows(path)
        texts: dict[tuple[str, str], int] = {}
        sides = [
            [texts.setdefault((pair[side]["prompt"], pair[side]["completion"]), len(texts)) for pair in pairs]
            for side in ("chosen", "rejected")
        ]
        self.rows = [
            example.tokens[-context:]
            for example in examples_of([{"prompt": p, "completion": c} for p, c in texts], tokenizer)
        ]
        self.chosen, self.rejected = (torch.tensor(side, dtype=torch.int64) for side in sides)
        self.strata = {name: torch.tensor(rows) for name, rows in _by_stratum(pairs).items()}

    def measure(self, scores: Tensor) -> tuple[dict[str, float], float]:
        """Accuracy by "aspect/source", ties counting half, and the mean loss, of texts' scores [texts]."""
        margin = scores[self.chosen] - scores[self.rejected]
        right = (margin > 0).double() + 0.5 * (margin == 0).double()
        accuracy = {name: right[rows].mean().item() for name, rows in self.strata.items()}
        loss = bradley_terry_loss(scores[self.chosen], scores[self.rejected]).item()
        return accuracy, loss / max(1, len(margin))


def headline_accuracy(accuracy: dict[str, float], sources: Sequence[str]) -> float:
    """Mean of the accuracies over the named sources (all where none is named or none of them is there)."""
    chosen = [value for name, value in accuracy.items() if name.partition("/")[2] in sources]
    chosen = chosen or list(accuracy.values())
    return sum(chosen) / len(chosen) if chosen else math.nan
