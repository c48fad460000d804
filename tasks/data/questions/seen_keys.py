"""Count occurrences of keys, each with its first place and value, for a bounded number of keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.data.verdicts.verdict_values import MOST_VALUES

MOST_KEYS = 10_000  # different keys that are counted separately
OTHERS = "(other keys)"


@dataclass(frozen=True)
class Seen:
    """The occurrences of a key, its first place and value, and what it looks like if that is asked."""

    count: int
    where: str
    sample: str
    looks: str = ""

    def plus(self, other: Seen) -> Seen:
        """Return the sum with another count of the same key. The first place and sample stay."""
        return Seen(self.count + other.count, self.where, self.sample, self.looks)


def counted_again(counts: dict[str, Seen], path: str) -> bool:
    """Count a key that was seen before. Return false for a new one, of which a sample is kept."""
    name = _name_in(counts, path)
    known = counts.get(name)
    if known is None:
        return False
    counts[name] = Seen(known.count + 1, known.where, known.sample, known.looks)
    return True


def count_key(counts: dict[str, Seen], path: str, seen: Seen) -> None:
    """Add occurrences of a key."""
    name = _name_in(counts, path)
    before = counts.get(name)
    counts[name] = before.plus(seen) if before else seen


def _name_in(counts: dict[str, Seen], path: str) -> str:
    # Data keyed by user ids has as many different keys as users.
    return path if path in counts or len(counts) < MOST_KEYS else OTHERS


def add_values(held: dict[str, set[str]], path: str, values: Iterable[str]) -> None:
    """Add different values of a key, up to a few more than an enumeration has."""
    if path not in held and len(held) >= MOST_KEYS:
        return
    kept = held.setdefault(path, set())
    for value in values:
        # One value above the limit shows that there are too many, in any order of parts.
        if len(kept) <= MOST_VALUES:
            kept.add(value)
