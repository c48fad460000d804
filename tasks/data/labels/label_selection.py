"""The choice of the pairs that people judge: a random share first, then the most uncertain pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.common.printable_text import is_printable
from tasks.data.labels.label_prompts import AskedPrompt
from tasks.data.records import compose_text, read_lines
from tasks.data.similar_texts import text_similarity
from tasks.labelling.batches import LabelItem

EMPTY, EQUAL, SIMILAR = "empty_answers", "equal_answers", "similar_answers"
UNPRINTED = "unprintable_answers"


@dataclass(frozen=True)
class AnsweredPrompt:
    """A prompt with an answer of each speaker.

    Attributes:
        asked: The prompt.
        answers: The answers, one a speaker.
        scores: The score that each head gives each answer, [speakers, heads]; None without a reward model.
        trains: Whether labels of the prompt fall in the training part of the split. In the other parts they
            measure models, so an item is never chosen for its uncertainty there.
    """

    asked: AskedPrompt
    answers: Sequence[str]
    scores: np.ndarray | None = None
    trains: bool = True


@dataclass(frozen=True)
class _Candidate:
    """A pair of answers to one prompt, by the numbers of their speakers."""

    prompt: int
    one: int
    other: int


@dataclass(frozen=True)
class Selection:
    """The chosen items in the order in which people see them, with what was left out by reason."""

    items: list[LabelItem]
    uncertainty: list[float | None]
    left_out: Mapping[str, int]


def preference_deviation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the standard deviation over heads of the probability that the one answer is preferred.

    Christiano et al., Deep reinforcement learning from human preferences, 2017 (arXiv:1706.03741), choose
    queries by the variance of an ensemble's preferences.

    Args:
        one: The score that each head gives the one answer, [heads].
        other: The score that each head gives the other, [heads].
    """
    # 1 / (1 + exp(-m)), in a form that does not overflow.
    return float(np.std(0.5 * (1 + np.tanh(0.5 * (one - other)))))


def choose_items(
    prompts: Sequence[AnsweredPrompt],
    speakers: Sequence[str],
    size: int,
    random_share: float,
    max_similarity: float,
    random: np.random.Generator,
) -> Selection:
    """Choose the items of a batch, at most one a prompt.

    Random items are drawn first: prompts at random, and of each one of its pairs at random. The others are
    the most uncertain pairs of the remaining prompts.

    Args:
        prompts: The prompts with their answers, in a random order.
        speakers: The names of the speakers, as the items record them.
        size: The number of items.
        random_share: The share that is drawn at random; without scores all are.
        max_similarity: Pairs of answers that are more similar are left out.
        random: The random number generator.
    """
    left_out: Counter[str] = Counter()
    pairs: list[list[_Candidate]] = []
    for number, prompt in enumerate(prompts):
        usable = []
        for one, other in combinations(range(len(prompt.answers)), 2):
            fault = _pair_fault(prompt.answers[one], prompt.answers[other], max_similarity)
            left_out[fault] += bool(fault)
            if not fault:
                usable.append(_Candidate(number, one, other))
        pairs.append(usable)
    open_prompts = [number for number, usable in enumerate(pairs) if usable]
    has_scores = any(prompts[number].scores is not None for number in open_prompts)
    wanted = min(size, len(open_prompts))
    if has_scores:
        wanted = _count_random([prompts[number].trains for number in open_prompts], size, random_share)
    drawn = open_prompts[:wanted]
    chosen: list[tuple[_Candidate, Literal["random", "uncertain"], float | None]] = []
    for number in drawn:
        pair = pairs[number][int(random.integers(len(pairs[number])))]
        chosen.append((pair, "random", _uncertainty(prompts, pair)))
    rest = [number for number in open_prompts[wanted:] if prompts[number].trains]
    best = [max((_uncertainty(prompts, pair) or 0.0, -i) for i, pair in enumerate(pairs[n])) for n in rest]
    for place in sorted(range(len(rest)), key=lambda place: (-best[place][0], place))[: size - len(chosen)]:
        value, index = best[place]
        chosen.append((pairs[rest[place]][-index], "uncertain", value))
    items = [
        (_make_item(prompts, pair, speakers, reason, bool(random.integers(2))), value)
        for pair, reason, value in chosen
    ]
    # Mixed, so that nobody who judges can tell why an item is there.
    order = random.permutation(len(items)).tolist()
    left_out.pop("", None)
    return Selection([items[i][0] for i in order], [items[i][1] for i in order], dict(left_out))


def _count_random(trains: Sequence[bool], size: int, random_share: float) -> int:
    """Return how many of the first prompts are random items, before any uncertainty is looked at.

    These are more than the share if too few prompts are left to choose uncertain items from.

    Args:
        trains: For each prompt whether its labels fall in the training part.
        size: The number of items.
        random_share: The share of random items.
    """
    wanted = min(round(size * random_share), len(trains))
    left = sum(trains[wanted:])
    while wanted < min(size, len(trains)) and left < size - wanted:
        left -= trains[wanted]
        wanted += 1
    return wanted


def _pair_fault(one: str, other: str, max_similarity: float) -> str:
    if not one.strip() or not other.strip():
        return EMPTY
    # Validation refuses such rows, so that judgements of them would be lost.
    if not (is_printable(compose_text(one)) and is_printable(compose_text(other))):
        return UNPRINTED
    similarity = text_similarity(one, other)
    if similarity == 1:
        return EQUAL
    return SIMILAR if similarity > max_similarity else ""


def _uncertainty(prompts: Sequence[AnsweredPrompt], pair: _Candidate) -> float | None:
    scores = prompts[pair.prompt].scores
    return None if scores is None else preference_deviation(scores[pair.one], scores[pair.other])


def _make_item(
    prompts: Sequence[AnsweredPrompt],
    pair: _Candidate,
    speakers: Sequence[str],
    reason: Literal["random", "uncertain"],
    swapped: bool,
) -> LabelItem:
    prompt = prompts[pair.prompt]
    # The order says nothing about who answered.
    a, b = (pair.other, pair.one) if swapped else (pair.one, pair.other)
    return LabelItem(
        prompt.asked.prompt, prompt.answers[a], prompt.answers[b], tuple(prompt.asked.history),
        speakers[a], speakers[b], reason,
    )  # fmt: skip


def hide_known(
    items: Sequence[LabelItem], known: Sequence[LabelItem], count: int, random: np.random.Generator
) -> list[LabelItem]:
    """Return the items with some known ones among them, at random places.

    Args:
        items: The items of a batch.
        known: The known items to draw from.
        count: How many are hidden, at most all.
        random: The random number generator.
    """
    chosen = random.permutation(len(known))[:count].tolist()
    mixed = [*items]
    for number in chosen:
        item = known[number]
        if random.integers(2) and item.known_choice in ("a", "b"):
            # Else all right answers of a file that has them first would be on one side.
            other = "b" if item.known_choice == "a" else "a"
            item = replace(
                item, a=item.b, b=item.a, a_model=item.b_model, b_model=item.a_model, known_choice=other
            )
        mixed.insert(int(random.integers(len(mixed) + 1)), item)
    return mixed


def item_values(item: LabelItem) -> dict[str, Any]:
    """Return an item as a line of items.jsonl, without its empty fields."""
    values = {
        "prompt": item.prompt, "history": list(map(dict, item.history)), "a": item.a, "b": item.b,
        "a_model": item.a_model, "b_model": item.b_model, "reason": item.reason,
        "known_choice": item.known_choice,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value}


def read_made_items(path: Path) -> list[LabelItem]:
    """Return the items of an items.jsonl, whose lines are those of `item_values`."""
    return [LabelItem(**{**row, "history": tuple(row.get("history", ()))}) for row in read_lines(path)]
