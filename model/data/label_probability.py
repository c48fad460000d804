"""How probable it is that the chosen text of a comparison is the better one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.data.dataloader import each_row

# The probability of a comparison in which neither text is better.
TIE = 0.5


def row_probability(row: Mapping[str, Any]) -> float:
    """Return the probability that the chosen text of a row is better; a row without one is certain."""
    return float(row.get("probability", 1.0))


def count_ties(labels: Path, split: str) -> int:
    """Return the number of comparisons of a split in which neither text is better; no accuracy counts them.

    Args:
        labels: The output of the stage labels.
        split: train, valid or test.
    """
    return sum(row_probability(row) == TIE for row in each_row(labels / f"{split}.comparisons.jsonl"))
