"""Known items: how often each person chooses the right answer of items whose right answer is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Fewer judgements of known items say too little about a person.
LEAST_KNOWN = 5


@dataclass
class KnownAccuracy:
    """How many known items a person judged, and how many of them rightly."""

    judged: int = 0
    right: int = 0

    @property
    def share(self) -> float:
        """Return the share of right choices; 1 if the person judged none."""
        return self.right / self.judged if self.judged else 1.0

    def is_below(self, least: float) -> bool:
        """Return whether enough known items show that the person is right less often than `least`."""
        return self.judged >= LEAST_KNOWN and self.share < least


def known_accuracy(judgements: Iterable[Mapping[str, Any]]) -> dict[str, KnownAccuracy]:
    """Return each person's accuracy on known items, from rows of `newest_judgements`."""
    found: dict[str, KnownAccuracy] = {}
    for row in judgements:
        if row["item_known_choice"]:
            mine = found.setdefault(row["person"], KnownAccuracy())
            mine.judged += 1
            mine.right += preference_of(row["choice"]) == row["item_known_choice"]
    return found


def preference_of(choice: str) -> str:
    """Return which answer a choice prefers: a, b or tie. Two bad answers are a tie."""
    return "tie" if choice == "bad" else choice


def preference_of_step(step: int) -> str:
    """Return which answer a step of an aspect prefers: a, b or tie."""
    return "a" if step < 3 else "b" if step > 3 else "tie"
