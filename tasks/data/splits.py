"""Assign rows to training, validation or test by the digest of their group."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

SPLITS = ("train", "valid", "test")
# By default the gate refuses a model that answered fewer: one that lost what SFT had passes by chance.
LEAST_TEST_PROMPTS = 5


@dataclass(frozen=True)
class SplitParameters:
    """Shares of the groups for validation and for test. The rest is for training.

    A group's split depends only on its digest and the salt, so new data never moves old rows.
    """

    validation_fraction: float = 0.05
    """Share of the groups held out for validation, above 0 and below 0.5."""

    test_fraction: float = 0.05
    """Share of the groups held out for the test, above 0 and below 0.5."""

    salt: str = ""
    """Text that enters the draw; another text gives another random split."""

    text_required: bool = True
    """Whether a run without texts, or without one in a split, is refused. With `base_model` it is not."""

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 0.5:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share above 0 and below 0.5")


def split_of(group: str, parameters: SplitParameters) -> str:
    """Return the split of a group."""
    # 13 hex digits are 52 bits, which a float holds exactly.
    place = int(hashlib.sha256(f"{parameters.salt}{group}".encode()).hexdigest()[:13], 16) / 16**13
    if place < parameters.test_fraction:
        return "test"
    return "valid" if place < parameters.test_fraction + parameters.validation_fraction else "train"
