"""Test the reward model's data: groups with probabilities, and held-out pairs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from model.data.label_probability import count_ties
from model.data.preference_dataset import HeldOutPairs, PreferenceDataset, headline_accuracy
from tests.model.conftest import Language, write_rows


def compared(number: int, **more: Any) -> dict[str, Any]:
    text = f"good {number}"
    return {"prompt": "p", "chosen": text, "rejected": "bad", "aspect": "tone", "source": "a", **more}


def dataset(language: Language, folder: Path, rows: list[dict[str, Any]]) -> PreferenceDataset:
    write_rows(folder / "train.ratings.jsonl", [])
    write_rows(folder / "train.comparisons.jsonl", rows)
    return PreferenceDataset(folder, language.tokenizer, 48, 4, 1.0, lambda event: None)


def test_preference_dataset_groups_keep_probability_of_each_pair(language: Language, tmp_path: Path) -> None:
    chances = [1.0, 0.5, 0.75, 0.625]
    rows = [compared(i, **({"probability": p} if p < 1 else {})) for i, p in enumerate(chances)]
    found = dataset(language, tmp_path, rows)
    assert found.groups == 2 and found.has_preferences
    pairs = {
        language.tokenizer.decode(group.rows[better]): probability
        for group in found.epoch_groups(seed=1, epoch=0)
        for better, probability in zip(group.better, group.probabilities, strict=True)
    }
    assert sorted(pairs.values(), reverse=True) == [1.0, 0.75, 0.625, 0.5]
    assert all(chances[int(text.partition("good ")[2][0])] == p for text, p in pairs.items())


@pytest.mark.parametrize(("decided", "has"), [(0, False), (1, True)])
def test_preference_dataset_ties_alone_are_no_preference(
    language: Language, tmp_path: Path, decided: int, has: bool
) -> None:
    rows = [compared(i, probability=0.5) for i in range(4)] + [compared(9)] * decided
    assert dataset(language, tmp_path, rows).has_preferences is has


def test_held_out_pairs_loss_uses_probability_and_accuracy_does_not(
    language: Language, tmp_path: Path
) -> None:
    good, bad = ({"prompt": "p", "completion": text} for text in ("good", "bad"))
    row = {"chosen": good, "rejected": bad, "aspect": "tone", "source": "a", "gap": 0.0}
    measured = []
    for name, more in (("certain", {}), ("doubtful", {"probability": 0.75})):
        write_rows(tmp_path / f"{name}.jsonl", [{**row, **more}])
        pairs = HeldOutPairs(tmp_path / f"{name}.jsonl", language.tokenizer, 48)
        measured.append(pairs.pair_accuracy(torch.tensor([2.0, 0.0])))
    (accuracy, certain), (same, doubtful) = measured
    assert accuracy == same == {"tone/a": 1.0}
    assert doubtful == pytest.approx(certain + 0.25 * 2)


def test_count_ties_counts_only_even_probabilities(tmp_path: Path) -> None:
    rows = [compared(1), compared(2, probability=0.5), compared(3, probability=0.51)]
    write_rows(tmp_path / "valid.comparisons.jsonl", rows)
    assert count_ties(tmp_path, "valid") == 1


@pytest.mark.parametrize(
    ("sources", "share"), [((), 3 / 5), (("film",), 2 / 4), (("chat",), 1.0), (("none",), 3 / 5)]
)
def test_headline_accuracy_is_share_of_all_pairs(sources: tuple[str, ...], share: float) -> None:
    accuracy, counts = {"tone/film": 0.5, "tone/chat": 1.0}, {"tone/film": 4, "tone/chat": 1}
    assert headline_accuracy(accuracy, counts, sources) == pytest.approx(share)


def test_headline_accuracy_without_pairs_is_nan() -> None:
    assert math.isnan(headline_accuracy({}, {}, ()))
