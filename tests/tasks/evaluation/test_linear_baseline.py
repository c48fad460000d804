"""Test the linear baseline that is compared with the reward model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from model.data.dataloader import read_rows
from tasks.evaluation.linear_baseline import linear_accuracy
from tests.model.conftest import Language, language, write_rows

__all__ = ["language"]


def test_linear_accuracy_learns_tone(language: Language) -> None:
    measured = linear_accuracy(language.labels)
    assert all(share > 0.95 for share, _ in measured.values()) and "tone/film" in measured
    strata = [f"{row['aspect']}/{row['source']}" for row in read_rows(language.labels / "pairs.valid.jsonl")]
    assert {name: count for name, (_, count) in measured.items()} == Counter(strata)


def test_linear_accuracy_reads_history(tmp_path: Path) -> None:
    def row(mood: str, i: int) -> dict[str, Any]:
        history = [
            {"role": "user", "content": f"be {mood}"},
            {"role": "assistant", "content": f"yes {i % 3}"},
        ]
        return {
            "history": history,
            "prompt": "go on",
            "completion": " the end",
            "aspect": "tone",
            "source": "s",
        }

    rows = [{**row(mood, i), "score": score} for i in range(20) for mood, score in (("glad", 2), ("sad", -2))]
    pair = {"chosen": row("glad", 1), "rejected": row("sad", 1), "aspect": "tone", "source": "s"}
    write_rows(tmp_path / "train.ratings.jsonl", rows)
    write_rows(tmp_path / "train.comparisons.jsonl", [])
    write_rows(tmp_path / "pairs.valid.jsonl", [pair])
    assert linear_accuracy(tmp_path) == {"tone/s": (1.0, 1)}


def test_linear_accuracy_ties_teach_nothing_and_wrong_labels_count_less(tmp_path: Path) -> None:
    def compared(better: str, worse: str, probability: float) -> dict[str, Any]:
        return {
            "prompt": "go on", "chosen": better, "rejected": worse, "aspect": "tone", "source": "s",
            "probability": probability,
        }  # fmt: skip

    def held_out(better: str, worse: str) -> dict[str, Any]:
        sides = {"chosen": better, "rejected": worse}
        rows = {side: {"prompt": "go on", "completion": text} for side, text in sides.items()}
        return {**rows, "aspect": "tone", "source": "s"}

    write_rows(tmp_path / "train.ratings.jsonl", [])
    write_rows(tmp_path / "pairs.valid.jsonl", [held_out("glad day", "sad day")])
    ties = [compared("sad day", "glad day", 0.5)] * 20
    for others, accuracy in (([], 0.5), ([("glad day", "sad day", 0.9), ("sad day", "glad day", 0.6)], 1.0)):
        rows = [compared(*other) for other in others for _ in range(10)]
        write_rows(tmp_path / "train.comparisons.jsonl", [*ties, *rows])
        assert linear_accuracy(tmp_path) == {"tone/s": (accuracy, 1)}
