"""Splits: train, validation and test by the digest of the group that must not be torn, never a shuffle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from model.errors import UserError
from model.launch import Report
from tasks.records import TYPES, read_rows, write_rows
from tasks.stage import stage

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class SplitParameters:
    """Shares of the groups that go to validation and to test; the rest is for training.

    `salt` gives another draw. A group's split depends on its own digest alone, so new data never moves old.
    """

    valid: float = 0.05
    test: float = 0.05
    salt: str = ""

    def __post_init__(self) -> None:
        for name in ("valid", "test"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share above 0 and below 0.5")


def split_of(group: str, parameters: SplitParameters) -> str:
    """Which split a group belongs to."""
    place = int(hashlib.sha256(f"{parameters.salt}{group}".encode()).hexdigest()[:13], 16) / 16**13
    if place < parameters.test:
        return "test"
    return "valid" if place < parameters.test + parameters.valid else "train"


@stage(inputs=("validate",))
def split(parameters: SplitParameters, validate: Path, out: Path, report: Report) -> dict[str, int]:
    """out/{train,valid,test}/*.jsonl. Raises UserError where text leaves a split empty."""
    counts: dict[str, int] = {}
    for kind in TYPES:
        rows = read_rows(validate / "rows" / f"{kind}.jsonl", kind)
        for name in SPLITS:
            chosen = [row for row in rows if split_of(row.group, parameters) == name]
            write_rows(out / name / f"{kind}.jsonl", chosen)
            counts[f"{name}_{kind}"] = len(chosen)
    for name in SPLITS:
        if not counts[f"{name}_text"]:
            raise UserError(
                f"no text falls into the {name} split; add texts, or raise split.valid and split.test"
            )
    return counts
