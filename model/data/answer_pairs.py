"""Pairs of answers to one prompt, of which people prefer one: the data of DPO."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.data.chat_template import Row, example_of, prompt_key
from model.data.dataloader import Example, read_rows
from model.data.label_probability import TIE, row_probability
from model.data.tokenizer import Tokenizer
from model.events import EventCallback, Message


@dataclass(frozen=True)
class AnswerPair:
    """Two answers to one prompt after one history, as examples.

    `probability` says how probable it is that the chosen one is better.
    """

    chosen: Example
    rejected: Example
    probability: float = 1.0


def read_answer_pairs(
    labels: Path, split: str, tokenizer: Tokenizer, context: int, margin: float, on_event: EventCallback
) -> list[AnswerPair]:
    """Return the pairs of one split; report how many are left out because they are too long.

    Comparisons are pairs, except ties, in which no answer is better. Of rated answers to one prompt, the best
    is compared with the worst, the second best with the second worst, and so on. Thus each rated answer is in
    one pair at most.

    Args:
        labels: The output of the stage labels.
        split: train or valid.
        tokenizer: The tokenizer.
        context: The model's context. A conversation loses its oldest turns until both answers fit.
        margin: The smallest difference between the scores of two rated answers.
        on_event: The event callback.
    """
    rows = [
        *_compared_pairs(read_rows(labels / f"{split}.comparisons.jsonl")),
        *((*pair, 1.0) for pair in _rated_pairs(read_rows(labels / f"{split}.ratings.jsonl"), margin)),
    ]
    # The last token is only predicted.
    longest = context + 1
    pairs = [
        AnswerPair(
            example_of(better, tokenizer, longest, beside=worse["completion"]),
            example_of(worse, tokenizer, longest, beside=better["completion"]),
            probability,
        )
        for better, worse, probability in rows
    ]
    fitting = [pair for pair in pairs if max(len(pair.chosen.tokens), len(pair.rejected.tokens)) <= longest]
    if len(fitting) < len(pairs):
        on_event(
            Message(
                f"{len(pairs) - len(fitting)} of {len(pairs)} pairs of answers ({split}) are longer than the "
                f"context of {context} tokens and are left out"
            )
        )
    return fitting


def _compared_pairs(comparisons: list[Row]) -> Iterator[tuple[Row, Row, float]]:
    """Yield the better and the worse answer of each comparison that is no tie, and its probability."""
    for row in comparisons:
        if (probability := row_probability(row)) != TIE:
            better, worse = ({**row, "completion": row[side]} for side in ("chosen", "rejected"))
            yield better, worse, probability


def _rated_pairs(ratings: list[Row], margin: float) -> Iterator[tuple[Row, Row]]:
    """Yield pairs of a better and a worse answer of one aspect, source and prompt."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in ratings:
        groups[json.dumps([row["aspect"], row["source"], *prompt_key(row)])].append(row)
    for _, rows in sorted(groups.items()):
        # By the text too, so that the order does not depend on that of the file.
        rows.sort(key=lambda row: (-float(row["score"]), row["completion"]))
        for better, worse in zip(rows, reversed(rows), strict=True):
            if float(better["score"]) - float(worse["score"]) < margin:
                break
            yield better, worse
