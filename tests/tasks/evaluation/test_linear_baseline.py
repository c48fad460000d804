"""Test the linear baseline that is compared with the reward model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.evaluation.linear_baseline import linear_accuracy
from tests.model.conftest import Language, language, write_rows

__all__ = ["language"]


def test_linear_accuracy_learns_tone(language: Language) -> None:
    accuracy = linear_accuracy(language.labels)
    assert accuracy["tone/film"] > 0.95
    assert accuracy["helpfulness/chat"] > 0.95 if "helpfulness/chat" in accuracy else True


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
    assert linear_accuracy(tmp_path) == {"tone/s": 1.0}
