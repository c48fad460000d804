"""The split of a row: train, validation or test, by the digest of its group."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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
