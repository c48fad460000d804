"""Pairs of answers to one prompt, from comparisons and from ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.data.answer_pairs import read_answer_pairs
from model.events import Event
from tests.model.conftest import Language, write_rows


def rating(prompt: str, completion: str, score: float, **more: Any) -> dict[str, Any]:
    return {
        "prompt": prompt, "completion": completion, "score": score, "aspect": "tone", "source": "a", **more
    }  # fmt: skip


def read(
    language: Language,
    folder: Path,
    ratings: list[dict[str, Any]],
    compared: list[dict[str, Any]],
    context: int = 48,
) -> tuple[list[tuple[str, str]], str]:
    write_rows(folder / "train.ratings.jsonl", ratings)
    write_rows(folder / "train.comparisons.jsonl", compared)
    said: list[Event] = []
    pairs = read_answer_pairs(folder, "train", language.tokenizer, context, 1.0, said.append)
    for pair in pairs:
        assert pair.chosen.prompt == pair.rejected.prompt
    decode = language.tokenizer.decode
    texts = [(decode(pair.chosen.completion), decode(pair.rejected.completion)) for pair in pairs]
    return texts, " ".join(getattr(event, "text", "") for event in said)


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([1.0], []),
        ([1.0, 1.5], []),
        ([1.0, 2.0], [("b1", "b0")]),
        ([1.0, 5.0, 3.0], [("b1", "b0")]),
        ([4.0, 1.0, 5.0, 2.0], [("b2", "b1"), ("b0", "b3")]),
        ([3.0, 3.0, 3.0], []),
    ],
)
def test_read_answer_pairs_rated_answers_are_paired_once(
    language: Language, tmp_path: Path, scores: list[float], wanted: list[tuple[str, str]]
) -> None:
    rows = [rating("the film", f"b{i}", score) for i, score in enumerate(scores)]
    assert read(language, tmp_path, rows, [])[0] == wanted
    assert read(language, tmp_path, rows[::-1], [])[0] == wanted


@pytest.mark.parametrize("other", [{"prompt": "the actor"}, {"aspect": "truth"}, {"source": "b"},
                                   {"history": [{"role": "user", "content": "so"}]}])  # fmt: skip
def test_read_answer_pairs_unlike_ratings_are_not_compared(
    language: Language, tmp_path: Path, other: dict[str, Any]
) -> None:
    rows = [rating("the film", "good", 5.0), {**rating("the film", "bad", 1.0), **other}]
    assert read(language, tmp_path, rows, []) == ([], "")


def test_read_answer_pairs_comparisons_come_first_and_long_ones_are_told(
    language: Language, tmp_path: Path
) -> None:
    compared = [
        {"prompt": "the film", "chosen": text, "rejected": "no", "aspect": "tone", "source": "a"}
        for text in ("yes", "very long " * 60)
    ]
    rated = [rating("the film", "good", 5.0), rating("the film", "bad", 1.0)]
    texts, said = read(language, tmp_path, rated, compared)
    assert texts == [("yes", "no"), ("good", "bad")]
    assert said == "1 of 3 pairs of answers (train) are longer than the context of 48 tokens and are left out"


def test_read_answer_pairs_ties_are_left_out_and_doubt_is_kept(language: Language, tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "good", "rejected": "bad", "aspect": "tone", "source": "a"}
    write_rows(tmp_path / "train.ratings.jsonl", [rating("p", "b0", 1.0), rating("p", "b1", 5.0)])
    compared = [row, {**row, "probability": 0.5}, {**row, "probability": 0.8}]
    write_rows(tmp_path / "train.comparisons.jsonl", compared)
    pairs = read_answer_pairs(tmp_path, "train", language.tokenizer, 48, 1.0, lambda event: None)
    assert [pair.probability for pair in pairs] == [1.0, 0.8, 1.0]
