"""Preference data of the reward model: groups to learn from, and held-out pairs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.data.chat_template import Row, example_of, examples_of, prompt_key, say_what_is_left_out
from model.data.dataloader import read_rows, seeded_rng
from model.data.label_probability import TIE, row_probability
from model.data.tokenizer import Tokenizer
from model.events import EventCallback
from model.nn.losses import bradley_terry_loss


@dataclass(frozen=True)
class Group:
    """Texts that are compared with each other: token rows, and pairs of a better and a worse row.

    `probabilities` says how probable it is that the better row is better; 1/2 is a tie.
    """

    rows: list[list[int]]
    better: list[int]
    worse: list[int]
    probabilities: list[float]


class PreferenceDataset:
    """The tokenised training labels, in groups of texts that depend on the epoch.

    A conversation longer than the context loses its oldest turns. A text that is still too long keeps its
    last tokens. `prompts` has one row for each distinct prompt, and `groups` is the number of groups of an
    epoch.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        context: int,
        size: int,
        margin: float,
        on_event: EventCallback,
    ) -> None:
        ratings = read_rows(folder / "train.ratings.jsonl")
        comparisons = read_rows(folder / "train.comparisons.jsonl")
        # Sorted by key below, so that the order does not depend on that of the files.
        prompts = {prompt_key(row): row for row in [*ratings, *comparisons]}
        self.prompts: list[Row] = [prompts[key] for key in sorted(prompts)]
        self.size, self.margin = size, margin
        rated = examples_of(ratings, tokenizer, context)
        chosen, rejected = (
            [
                example_of({**row, "completion": row[side]}, tokenizer, context, beside=row[other])
                for row in comparisons
            ]
            for side, other in (("chosen", "rejected"), ("rejected", "chosen"))
        )
        # Counted before the truncation below, which would hide what is too long. Labels are counted, as in
        # the report: a comparison by its longer answer, as both sides keep the same turns.
        longer = [max(pair, key=lambda one: len(one.tokens)) for pair in zip(chosen, rejected, strict=True)]
        for examples, what in ((longer, "comparisons"), (rated, "rated answers")):
            say_what_is_left_out(examples, what, context, "keep their last tokens", on_event)
        self.ratings, self.chosen, self.rejected = (
            [example.tokens[-context:] for example in examples] for examples in (rated, chosen, rejected)
        )
        self.scores = [float(row["score"]) for row in ratings]
        self.probabilities = [row_probability(row) for row in comparisons]
        # Scores of different aspects or sources are not on one scale, so groups stay inside a stratum.
        self.strata = _by_stratum(ratings)
        self.compared = _by_stratum(comparisons)
        self.groups = sum(len(rows) // size for rows in self.strata.values()) + sum(
            len(rows) // (size // 2) for rows in self.compared.values()
        )

    @property
    def has_preferences(self) -> bool:
        """Return whether any two texts of a stratum are compared, or rated at least `margin` apart."""
        rated = ([self.scores[i] for i in rows] for rows in self.strata.values())
        decided = any(probability != TIE for probability in self.probabilities)
        return decided or any(max(scores) - min(scores) >= self.margin for scores in rated)

    def epoch_groups(self, seed: int, epoch: int) -> list[Group]:
        """Return the groups of an epoch: every label once, except those left over when the groups are full.

        The groups are in the order of the strata.
        """
        groups = []
        for stratum, rows in enumerate(self.strata.values()):
            for chosen in self._draw_groups(rows, self.size, seeded_rng(seed, epoch, 0, stratum)):
                groups.append(self._rated_group(chosen))
        for stratum, rows in enumerate(self.compared.values()):
            for chosen in self._draw_groups(rows, self.size // 2, seeded_rng(seed, epoch, 1, stratum)):
                groups.append(
                    Group(
                        [self.chosen[i] for i in chosen] + [self.rejected[i] for i in chosen],
                        list(range(len(chosen))),
                        list(range(len(chosen), 2 * len(chosen))),
                        [self.probabilities[i] for i in chosen],
                    )
                )
        return groups

    @staticmethod
    def _draw_groups(rows: list[int], size: int, random: np.random.Generator) -> Iterator[list[int]]:
        mixed = random.permutation(rows)
        for start in range(0, len(rows) - size + 1, size):
            yield mixed[start : start + size].tolist()

    def _rated_group(self, chosen: list[int]) -> Group:
        pairs = [
            (a, b)
            for a, first in enumerate(chosen)
            for b, second in enumerate(chosen)
            if self.scores[first] - self.scores[second] >= self.margin
        ]
        better, worse = [a for a, _ in pairs], [b for _, b in pairs]
        return Group([self.ratings[i] for i in chosen], better, worse, [1.0] * len(pairs))


def probabilities_or_none(probabilities: Sequence[float]) -> Tensor | None:
    """Return probabilities as a tensor; None if all are 1, for which a loss needs none."""
    if all(probability == 1 for probability in probabilities):
        return None
    return torch.tensor(probabilities, dtype=torch.float32)


def _by_stratum(rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    strata: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        strata[f"{row['aspect']}/{row['source']}"].append(i)
    # Sorted: the number of a stratum is part of the key of its random numbers.
    return dict(sorted(strata.items()))


class HeldOutPairs:
    """Held-out pairs of texts of one aspect and source; each text is scored once."""

    def __init__(self, path: Path, tokenizer: Tokenizer, context: int) -> None:
        pairs = read_rows(path)
        texts: dict[tuple[int, ...], int] = {}
        sides = [
            [
                # A text is in many pairs; it goes through the model once.
                texts.setdefault(_last_tokens(pair[side], pair[other], tokenizer, context), len(texts))
                for pair in pairs
            ]
            for side, other in (("chosen", "rejected"), ("rejected", "chosen"))
        ]
        self.rows = [list(text) for text in texts]
        self.chosen, self.rejected = (torch.tensor(side, dtype=torch.int64) for side in sides)
        self.strata = {name: torch.tensor(rows) for name, rows in _by_stratum(pairs).items()}
        self.probabilities = probabilities_or_none([row_probability(pair) for pair in pairs])

    def count_by_stratum(self) -> dict[str, int]:
        """Return the number of pairs by "aspect/source"."""
        return {name: len(rows) for name, rows in self.strata.items()}

    def score_pairs(self, scores: Tensor) -> Tensor:
        """Return 1 for each pair whose better text has the higher score, 0.5 for a tie, [P]."""
        margin = scores[self.chosen] - scores[self.rejected]
        return (margin > 0).double() + 0.5 * (margin == 0).double()

    def score_texts(
        self, scores: Tensor, strata: Sequence[str] | None = None
    ) -> tuple[list[float], list[int], list[int]]:
        """Return for each pair whether it is in the right order, and the numbers of its two texts.

        Args:
            scores: The score of each text, [texts].
            strata: The strata, "aspect/source", whose pairs are returned in this order; None: all pairs.

        Returns:
            `score_pairs` of these pairs, the numbers of their better texts, and those of their worse ones.
        """
        right, better, worse = self.score_pairs(scores), self.chosen, self.rejected
        if strata is not None:
            rows = torch.cat([self.strata[name] for name in strata])
            right, better, worse = right[rows], better[rows], worse[rows]
        return right.tolist(), better.tolist(), worse.tolist()

    def pair_accuracy(self, scores: Tensor) -> tuple[dict[str, float], float]:
        """Return the accuracy by "aspect/source", ties counting half, and the mean loss.

        Args:
            scores: The score of each text, [texts].
        """
        margin, right = scores[self.chosen] - scores[self.rejected], self.score_pairs(scores)
        accuracy = {name: right[rows].mean().item() for name, rows in self.strata.items()}
        chosen, rejected = scores[self.chosen], scores[self.rejected]
        loss = bradley_terry_loss(chosen, rejected, self.probabilities).item()
        return accuracy, loss / max(1, len(margin))


def _last_tokens(row: Row, other: Row, tokenizer: Tokenizer, context: int) -> tuple[int, ...]:
    """Return the last tokens of one of two compared texts, as many as the context holds."""
    return tuple(example_of(row, tokenizer, context, beside=other["completion"]).tokens[-context:])


def headline_accuracy(
    accuracy: Mapping[str, float], counts: Mapping[str, int], sources: Sequence[str]
) -> float:
    """Return the share of pairs in the right order over the named sources; over all if none is present.

    Every pair counts the same, so that the share and the number of pairs belong together.

    Args:
        accuracy: The accuracy by "aspect/source".
        counts: The number of pairs by "aspect/source".
        sources: The names; empty: all.
    """
    chosen = headline_strata(accuracy, sources)
    pairs = sum(counts[name] for name in chosen)
    return sum(accuracy[name] * counts[name] for name in chosen) / pairs if pairs else math.nan


def headline_strata(strata: Iterable[str], sources: Sequence[str]) -> list[str]:
    """Return the strata "aspect/source" whose source is named; all if none is named or present."""
    names = list(strata)
    return [name for name in names if name.partition("/")[2] in sources] or names
