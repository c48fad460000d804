"""Count the cells of people's vote columns that hold no vote, such as a remark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tasks.common.counts import counted
from tasks.data.questions.seen_keys import Seen, count_key
from tasks.data.questions.vote_cells import too_many_others
from tasks.data.values.key_text import ascii_controls, format_sample, shown_key, yaml_key
from tasks.data.values.score_values import is_date, number_advice


@dataclass
class LostVotes:
    """The cells of each vote column that hold no vote. They cost this vote alone, not those beside it.

    Attributes:
        lost: The cells without a vote by column; `looks` of each is why its first one is none.
        read: The number of votes that were read, by column.
        undecided: The place of the first vote without a decision, such as `skip` or a dash.
        first: The sentence about the first lost vote, for a source that is strict.
    """

    lost: dict[str, Seen] = field(default_factory=dict)
    read: Counter[str] = field(default_factory=Counter)
    undecided: str = ""
    first: str = ""

    def note(self, path: str, value: Any, where: str, expected: str) -> None:
        """Count a cell that is no vote. `expected` says what a vote is in this row."""
        reason = f"no vote; expected {expected}"
        if is_date(value):
            reason = "a date; spreadsheets make one of 4/5 or 1-2"
        reason += number_advice(value)
        sample = format_sample(value)
        self.first = self.first or f"{where}: {shown_key(path)} is {sample}, {reason}"
        count_key(self.lost, path, Seen(1, where, sample, reason))

    def note_undecided(self, path: str, value: Any, where: str) -> None:
        """Record the place of a cell by which a person did not vote."""
        self.undecided = self.undecided or f"{where}: {shown_key(path)} is {format_sample(value)}"

    def add(self, other: LostVotes) -> None:
        """Add the counts of the part that follows."""
        for path, seen in other.lost.items():
            count_key(self.lost, path, seen)
        self.read.update(other.read)
        self.undecided = self.undecided or other.undecided
        self.first = self.first or other.first

    def lines(self) -> Iterator[str]:
        """Yield a line about the first vote without a decision, and one for each column with lost votes."""
        if self.undecided:
            yield f"the first vote without a decision: {ascii_controls(self.undecided)}"
        for path, seen in self.lost.items():
            yield (
                f"left out: {counted(seen.count, 'votes')} under {shown_key(path)}; the first: "
                f"{ascii_controls(seen.where)}: {seen.sample} is {seen.looks}"
            )

    def questions(self) -> Iterator[str]:
        """Yield a question for each column of which so much is no vote that the column may be something else.

        The other cells of such a column may be a scale that nothing reads, as `meh` beside `good`.
        """
        for path, seen in self.lost.items():
            if seen.count > 1 and too_many_others(seen.count, self.read[path]):
                total = seen.count + self.read[path]
                yield (
                    f"{seen.where}: fields makes {shown_key(path)} a vote, and {seen.count:,} of its "
                    f"{counted(total, 'values')} are none, as {seen.sample}: {seen.looks}. Write votes in "
                    f"their place, or skip the column, as in fields: {{{yaml_key(path)}: ignore}}"
                )
