"""Tell texts that mark their rows from other texts, under names such as `deleted` and `rating_comment`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.data.values.field_meanings import is_empty
from tasks.data.verdicts.verdict_names import is_remark_text, names_judgement, names_removal
from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES, named_as_verdict

_MOST_SHAPES = 10_000


@dataclass
class RowShapes:
    """The sets of keys that the rows of each file have a value under.

    A long text under `deleted` that every row has is a text that was replaced, and nothing reads it. Where
    equal rows lack it, it says that its own row was deleted, and why.
    """

    seen: set[tuple[str, frozenset[str]]] = field(default_factory=set)

    def note(self, values: Mapping[str, Any], origin: str) -> None:
        """Record the keys of a row. `origin` is its file: another file may never have had the key."""
        if len(self.seen) < _MOST_SHAPES:
            self.seen.add((origin, frozenset(key for key, value in values.items() if not is_empty(value))))

    def update(self, other: RowShapes) -> None:
        """Add the rows of another part of the source."""
        self.seen |= other.seen

    def some_lack(self, key: str) -> bool:
        """Return whether a row has every key of another row of its file but this one."""
        return any(key in keys and (origin, keys - {key}) in self.seen for origin, keys in self.seen)


def look_marked(path: str, values: Collection[str], count: int, shapes: RowShapes, understood: bool) -> bool:
    """Return whether texts mark their rows: as removed, or by a few words under the name of a remark.

    Args:
        path: The key.
        values: Its different values, as `short_values` spells them.
        count: The number of rows with a value, less the number of ratings. A remark is often beside one.
        shapes: The rows of the source.
        understood: Whether other values of the key are read by its name.
    """
    if LONG in values:
        lacked = understood or "." in path or shapes.some_lack(path)
        return names_removal(path) and lacked
    # Remarks differ from row to row. Words that repeat may be classes, of which one may reject its row.
    known = [value for value in values if value]
    if not 0 < 2 * len(known) <= min(count, 2 * MOST_VALUES):
        return False
    return is_remark_text(path, "") and (names_judgement(path) or named_as_verdict(path, ""))
