"""Count the cells of a column by their value, to tell a column of kinds from one of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES

_COUNTED = 64  # different values that are counted separately
_KINDS = 30  # different values of a column of kinds, if each is frequent
_FREQUENT = 2  # times that such a value occurs on average
_NOISE = 0.2  # the share of cells that may be remarks or typing errors beside the kinds


@dataclass
class ValueCounts:
    """The number of a column's cells by value.

    Attributes:
        kinds: The cells of each short value, as `short_values` spells it.
        others: The cells with a long text, or with a value beyond those that are counted.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    others: int = 0

    def note(self, values: Iterable[str]) -> None:
        """Count the values of a cell."""
        for value in values:
            self._count(value, 1)

    def add(self, other: ValueCounts) -> None:
        """Add the cells of the part that follows."""
        for value, count in other.kinds.items():
            self._count(value, count)
        self.others += other.others

    def few(self) -> frozenset[str]:
        """Return the values of a column of kinds; empty for a column of many different values.

        Up to 12 different values may be kinds. More are, if nearly all cells hold one that is repeated. The
        other cells may then be remarks or typing errors.
        """
        if not self.others and len(self.kinds) <= MOST_VALUES:
            return frozenset(self.kinds)
        repeated = {value: count for value, count in self.kinds.items() if count > 1}
        cells, held = self.kinds.total() + self.others, sum(repeated.values())
        if len(repeated) > _KINDS or held < _FREQUENT * len(repeated) or held < (1 - _NOISE) * cells:
            return frozenset()
        return frozenset(repeated)

    def _count(self, value: str, count: int) -> None:
        if value != LONG and (value in self.kinds or len(self.kinds) < _COUNTED):
            if value:
                self.kinds[value] += count
        else:
            self.others += count
