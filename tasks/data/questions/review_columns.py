"""Find the empty cells and the unknown words of a reviewer's column.

`answer` may be a reviewer's column, as Prodigy writes it, or hold the final answers of exercises. Only all
its values together tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tasks.common.counts import counted
from tasks.data.questions.seen_keys import Seen, count_key
from tasks.data.values.field_meanings import KNOWN, MASKS, flatten_name
from tasks.data.values.key_text import format_sample, shown_key

# What an empty cell looks like if other rows have a review under its key.
UNREVIEWED = "a review that is missing"
TOLD = "a mask that is missing"


@dataclass
class ReviewColumns:
    """The empty cells of keys whose kind only their other values tell, and of training masks."""

    empty: dict[str, Seen] = field(default_factory=dict)

    def note(self, key: str, where: str, looks: str = UNREVIEWED) -> None:
        """Count an empty cell, whose row is learned. `looks` is TOLD if the preset calls its key a mask."""
        count_key(self.empty, key, Seen(1, where, "empty", looks))

    def update(self, other: ReviewColumns) -> None:
        """Add the cells of another part of the source."""
        for key, seen in other.empty.items():
            count_key(self.empty, key, seen)

    def asked(
        self, unread: Mapping[str, Seen], understood: Collection[str], looks: str
    ) -> Iterator[tuple[str, Seen]]:
        """Yield the keys with reviews that also have other words or empty cells.

        Args:
            unread: The keys with values that nothing reads.
            understood: The keys with values that are read by their names.
            looks: What an unknown word looks like.
        """
        for key in understood:
            if KNOWN.get(flatten_name(key)) != "review":
                continue
            if key in unread:
                yield key, replace(unread[key], looks=looks)
            elif key in self.empty and self.empty[key].looks == UNREVIEWED:
                yield key, self.empty[key]

    def lines(self, understood: Collection[str]) -> Iterator[str]:
        """Yield a line for each training mask that is empty in some rows. They are learned."""
        for key, seen in self.empty.items():
            named = key in understood and KNOWN.get(flatten_name(key)) in MASKS
            if named or seen.looks == TOLD:
                yield (
                    f"learned although the mask {shown_key(key)} is empty: {counted(seen.count, 'rows')}, "
                    f"first {format_sample(seen.where)}"
                )
