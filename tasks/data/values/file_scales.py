"""Find files of one source whose scores are on two scales, as 1 to 5 in one and 1 to 10 in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.data.values.key_text import ascii_controls, shown_key, yaml_key

_MOST_FILES = 1000
_ENOUGH = 20  # scores of a file, below which its highest one says little
# The highest score of a scale, and the one from which another scale must be longer.
LONGER_SCALES = {5: 9, 10: 50}


@dataclass
class FileScales:
    """The number of scores and the highest one of each file, by aspect."""

    highest: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    def note(self, aspect: str, where: str, scores: Sequence[float]) -> None:
        """Record the scores of a row at a place such as `a.csv, line 3`."""
        if scores:
            self._raise(aspect, where.rpartition(", ")[0], len(scores), max(scores))

    def update(self, other: FileScales) -> None:
        """Add the scores of the part that follows."""
        for (aspect, file), (count, most) in other.highest.items():
            self._raise(aspect, file, count, most)

    def _raise(self, aspect: str, file: str, count: int, most: float) -> None:
        before = self.highest.get((aspect, file))
        if before is not None:
            self.highest[aspect, file] = (before[0] + count, max(before[1], most))
        elif len(self.highest) < _MOST_FILES:
            self.highest[aspect, file] = (count, most)

    def questions(self, key: str) -> list[str]:
        """Return the question about the first two files of an aspect with scales of two lengths."""
        for aspect in dict.fromkeys(aspect for aspect, _ in self.highest):
            ends = {
                file: most
                for (one, file), (count, most) in self.highest.items()
                if one == aspect and count >= _ENOUGH
            }
            for end, longer in LONGER_SCALES.items():
                short = next((file for file, most in ends.items() if most == end), None)
                long = next((file for file, most in ends.items() if most >= longer), None)
                if short is not None and long is not None:
                    first, second = ascii_controls(short), ascii_controls(long)
                    return [
                        f"the scores under {shown_key(key)} are up to {end} in {first} and up to "
                        f"{ends[long]:g} in {second}, which may be two scales. Make each file a source of "
                        f"its own, or convert one; for one scale, set fields: {{{yaml_key(key)}: verdict}}"
                    ]
        return []
