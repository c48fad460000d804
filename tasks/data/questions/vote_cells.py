"""Count what the cells of a column are: numbers, yes and no, grades, words, sides, or something else."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tasks.data.values.choices import is_tie, is_tie_or_order, is_undecided
from tasks.data.values.field_meanings import plain_word
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.judgement_words import judgement_of
from tasks.data.verdicts.verdict_openings import is_plain_vote, opening_of
from tasks.data.verdicts.verdict_values import WEAK, is_judgement

MOST_OTHERS = 0.2  # the share of a column's cells that may be something else than votes
_LONGEST = 40  # characters of a vote; a longer text is a remark
_NUMBER, _FLAG, _WORD, _SIDE, _TIE, _GRADE, PLUS_CELL, _MINUS, _UNDECIDED, _OTHER = (
    "number", "flag", "word", "side", "tie", "grade", "plus", "minus", "undecided", "other",
)  # fmt: skip
SIDE_VALUES = frozenset((
    "a", "b", "tie", "response_a", "response_b", "model_a", "model_b", "answer_a", "answer_b",
))  # fmt: skip
_PLUSES, _MINUSES = frozenset("+＋"), frozenset("-–—−－")
_GRADES = re.compile(r"([A-F])([+*]|[-–−])?", re.I)
_TENTHS = 10  # votes have one decimal at most, as 4.5


@dataclass
class VoteCells:
    """The kinds of a column's cells.

    Attributes:
        name: The column's own key; its path has those of the objects around it too.
        kinds: The number of cells of each kind.
        low: The lowest number.
        high: The highest number.
        whole: Whether all numbers are whole.
        fine: Whether some number has more than one decimal.
        ones: Whether all numbers are 0 and 1.
    """

    name: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    low: float = math.inf
    high: float = -math.inf
    whole: bool = True
    fine: bool = False
    ones: bool = True

    def note(self, value: Any) -> None:
        """Count a cell that is not empty."""
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        known = value if isinstance(value, bool | int | float | str) else None
        kind, number = _kind_of(known, type(known).__name__)
        self.kinds[kind] += 1
        if kind == _NUMBER:
            self.low, self.high = min(self.low, number), max(self.high, number)
            self.whole = self.whole and number.is_integer()
            # Every huge float is whole, and ten times it may be infinite.
            tenths = 0.0 if number.is_integer() else _TENTHS * number
            self.fine = self.fine or not math.isclose(tenths, round(tenths))
            self.ones = self.ones and number in (0, 1)

    def add(self, other: VoteCells) -> None:
        """Add the cells of another part of the column."""
        self.name = self.name or other.name
        self.kinds.update(other.kinds)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.whole, self.fine = self.whole and other.whole, self.fine or other.fine
        self.ones = self.ones and other.ones

    def votes(self, signed: bool) -> int:
        """Return the number of cells that may be votes. A minus is one only where others write a plus."""
        minus = self.kinds[_MINUS] if signed else 0
        kinds = (_NUMBER, _FLAG, _WORD, _SIDE, _TIE, _GRADE, PLUS_CELL)
        return minus + sum(self.kinds[kind] for kind in kinds)

    def are_votes(self, most: float, signed: bool) -> bool:
        """Return whether the cells are votes, but for a share of at most `most`, or a single cell.

        Cells such as `skip` and `?` are no votes and do not count.
        """
        others, votes = self.kinds[_OTHER], self.votes(signed)
        return votes > 0 and not too_many_others(others, votes, most) and self._on_scale()

    def _on_scale(self) -> bool:
        """Return whether the numbers are on a scale that people use: to 5, 10 or 100, or from -5 to 5."""
        if not self.kinds[_NUMBER]:
            return True
        if self.fine:
            return False
        return (self.low >= -5 and self.high <= 5) or (
            self.low >= 0 and (self.high <= 10 or (self.high <= 100 and self.whole))
        )

    @property
    def has_numbers(self) -> bool:
        """True if some cells are numbers."""
        return bool(self.kinds[_NUMBER])

    @property
    def sides(self) -> int:
        """The number of cells that name one of two answers, or a tie."""
        return self.kinds[_SIDE] + self.kinds[_TIE]

    @property
    def names_no_side(self) -> bool:
        """True if some cells say that two answers are equal, and none says which is better."""
        return bool(self.kinds[_TIE]) and not self.kinds[_SIDE]

    @property
    def grades(self) -> bool:
        """True if some cells are grades that are no sides, as C or B+."""
        return bool(self.kinds[_GRADE])

    @property
    def lettered(self) -> bool:
        """True if some cells are letters that may be grades, also A and B."""
        return self.grades or bool(self.sides)

    @property
    def judged(self) -> bool:
        """True if some cells are words of judgement or sides, which are votes under any name."""
        return bool(self.kinds[_WORD] or (self.sides and not self.grades))

    @property
    def judgements(self) -> int:
        """The number of cells that are words of judgement."""
        return self.kinds[_WORD]

    @property
    def flags(self) -> bool:
        """True if the votes are yes and no only, also as plus and minus, or as 0 and 1."""
        return not self.judged and not self.grades and (not self.kinds[_NUMBER] or self.ones)


def too_many_others(others: int, votes: int, most: float = MOST_OTHERS) -> bool:
    """Return whether so many cells are no votes that a column may hold something else."""
    return others > most * (votes + others) and (others > 1 or votes < 2)


def as_grade(value: Any) -> float | None:
    """Return a grade from A to F as 4 to -1, with 0.3 more for a plus and less for a minus; None for others.

    F is -1 like any other no, as a column of yes and no may say F for false.
    """
    found = _GRADES.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    step = 0.0 if found[2] is None else 0.3 if found[2] in "+*" else -0.3
    return 4.0 - "ABCDEF".index(found[1].upper()) + step


def read_vote(value: Any, others: Collection[Any]) -> float | None:
    """Return the score of a plus, a minus, a grade or a word of judgement in a column of votes; else None.

    Args:
        value: The cell.
        others: The other votes of its row. A minus beside a number is no vote.
    """
    bare = str(value).strip()
    if bare in _PLUSES:
        return 1.0
    if bare in _MINUSES:
        return None if any(as_score(other) is not None for other in others) else -1.0
    grade = as_grade(bare)
    return (float(judgement_of(plain_word(bare))) or None) if grade is None else grade


def is_no_vote(value: Any) -> bool:
    """Return whether a cell says that a person did not vote, as `skip`, `?` or a dash."""
    return isinstance(value, str) and is_undecided(value)


# Asked for each cell of each unread key; votes repeat. 1, 1.0 and true are equal, so the type is a key too.
@lru_cache(maxsize=8192)
def _kind_of(value: bool | int | float | str | None, name: str) -> tuple[str, float]:
    """Return the kind of a cell, and its number."""
    if value is None:
        return _OTHER, 0
    if isinstance(value, bool):
        return _FLAG, 0
    number = as_score(value)
    if number is not None:
        return _NUMBER, number
    bare = str(value).strip()
    if bare in _PLUSES:
        return PLUS_CELL, 0
    if bare in _MINUSES:
        return _MINUS, 0
    word = plain_word(bare)
    begun = opening_of(bare)
    if begun and is_plain_vote(begun):
        # The reason of a vote stands after it, as `down: it is wrong`.
        word = plain_word(begun)
    elif len(bare) > _LONGEST:
        return _OTHER, 0
    if word in WEAK:
        return _FLAG, 0
    if is_judgement(word):
        return _WORD, 0
    if word in SIDE_VALUES or is_tie_or_order(bare):
        return _TIE if is_tie(bare) else _SIDE, 0
    if _GRADES.fullmatch(bare):
        return _GRADE, 0
    return (_UNDECIDED if is_undecided(bare) else _OTHER), 0
