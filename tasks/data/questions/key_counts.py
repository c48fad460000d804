"""Count the keys, values and rows of a source that reading skips, and keep what shows their meaning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.data.questions.lost_votes import LostVotes
from tasks.data.questions.proposed_meanings import CHOICE, SIDE_OR_MODEL
from tasks.data.questions.review_columns import ReviewColumns
from tasks.data.questions.seen_keys import MOST_KEYS, Seen, add_values, count_key, counted_again
from tasks.data.questions.value_counts import ValueCounts
from tasks.data.questions.vote_cells import VoteCells
from tasks.data.values.choices import margin_conflicts
from tasks.data.values.editorial_marks import MarkedTexts
from tasks.data.values.field_meanings import VOTES, plain_word
from tasks.data.values.file_scales import FileScales
from tasks.data.values.key_text import format_sample
from tasks.data.values.scale_changes import ScaleChanges
from tasks.data.values.scale_legends import ScaleLegends
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.marking_texts import RowShapes
from tasks.data.verdicts.verdict_values import short_openings, short_values


@dataclass
class KeyCounts:
    """The counts and values of a source's keys and rows, or of a part of it. `add` adds parts in their order.

    Attributes:
        rows: Rows that were read.
        pairs: Rows that are pairs.
        answers: Rows that are pairs, or ratings of an answer.
        comparisons: Rows that are comparisons.
        nameless: Labels of unknown people.
        faults: Rows that could not be read.
        first_fault: The error of the first of these.
        unread: Keys that nothing reads.
        asked: Those that look like a verdict or a training mask, which stops the run (`SkipCounts.check`).
        values: A few different values of each unread key. They may look like verdicts too (`asks`).
        cells_by_value: The number of cells of each unread key by value.
        elsewhere: The values of keys in other sources. A key that never changes here may differ there.
        openings: The same for the words before a reason, as `rejected` in `Rejected. It is wrong`.
        cells: What all cells of each unread key are. Several columns of votes are found by them.
        scales: Scales of the verdicts on each aspect, each with its first key and place.
        left_out: Excluded rows and answers by reason.
        words: Cells with a null word such as `nan`, by key.
        times: Times of labels that cannot be read, by key.
        choices: Choices that are words and name neither answer, by key.
        understood: The number of values that were read by the name of their key, by key.
        used: Keys of the source's `fields` that were found.
        sides: Values of unread keys that name one of two answers, beside a choice: their number by side.
        ties: Unread keys that call a comparison with a choice a tie, or give its answers another order.
        margins: What the numbers under a key such as `margin` are not: see `margin_conflicts`.
        choosers: The keys of choices that are objects of people, as `choice.anna`.
        compared: Whether columns of votes hold the choices between two answers.
        votes: Cells of vote columns that hold no vote.
        numbered: The numbers in the names of the columns of two answers, by which votes may name them.
        rejected: The rejection ids of texts and labels that a reviewer rejected. Equal rows are left out too.
        file_scales: The highest score of each file.
        scale_changes: The order of the scores in each file.
        shapes: The keys of rows, by which a text under `deleted` may mark its row.
        reviews: Empty cells of reviewers' columns and masks.
        legends: Cells that say that lower scores are better.
        marked: Rows of which a text has an editorial mark.
        companions: Keys without which a row would be learned as something else, which stop the run.
        inside: Keys in lists of objects that are no turns, such as `reactions[].name`. Only ignore is right.
    """

    rows: int = 0
    pairs: int = 0
    answers: int = 0
    comparisons: int = 0
    nameless: int = 0
    faults: int = 0
    first_fault: str = ""
    unread: dict[str, Seen] = field(default_factory=dict)
    asked: dict[str, Seen] = field(default_factory=dict)
    values: dict[str, set[str]] = field(default_factory=dict)
    cells_by_value: dict[str, ValueCounts] = field(default_factory=dict)
    elsewhere: Mapping[str, frozenset[str]] = field(default_factory=dict)
    openings: dict[str, set[str]] = field(default_factory=dict)
    cells: dict[str, VoteCells] = field(default_factory=dict)
    scales: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    words: dict[str, Seen] = field(default_factory=dict)
    times: dict[str, Seen] = field(default_factory=dict)
    choices: dict[str, Seen] = field(default_factory=dict)
    understood: Counter[str] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)
    companions: dict[str, Seen] = field(default_factory=dict)
    inside: set[str] = field(default_factory=set)
    sides: dict[str, Counter[str]] = field(default_factory=dict)
    ties: set[str] = field(default_factory=set)
    margins: dict[str, frozenset[str]] = field(default_factory=dict)
    choosers: set[str] = field(default_factory=set)
    compared: bool = False
    numbered: frozenset[str] = frozenset()
    votes: LostVotes = field(default_factory=LostVotes)
    rejected: set[str] = field(default_factory=set)
    file_scales: FileScales = field(default_factory=FileScales)
    scale_changes: ScaleChanges = field(default_factory=ScaleChanges)
    shapes: RowShapes = field(default_factory=RowShapes)
    reviews: ReviewColumns = field(default_factory=ReviewColumns)
    legends: ScaleLegends = field(default_factory=ScaleLegends)
    marked: MarkedTexts = field(default_factory=MarkedTexts)

    def votes_in(self, fields: Mapping[str, Any] | None) -> list[str]:
        """Return the columns that a source's fields call one person's votes, or that were read as such."""
        return [path for path, said in (fields or {}).items() if said in VOTES or path in self.votes.read]

    def fault(self, says: str) -> None:
        """Count a row that could not be read."""
        self.faults += 1
        self.first_fault = self.first_fault or says

    def note_unread(self, path: str, value: Any, where: str, looks: str = "") -> None:
        """Count a key that nothing reads. `looks` says what it looks like if that must be asked."""
        if not looks and counted_again(self.unread, path):
            return
        seen = Seen(1, where, format_sample(value), looks)
        count_key(self.unread, path, seen)
        if looks:
            count_key(self.asked, path, seen)

    def note_values(self, path: str, value: Any, name: str = "") -> None:
        """Record a value of an unread key, as all its values together may reveal its meaning.

        `name` is the key's own, without the objects around it.
        """
        short = list(short_values(value))
        add_values(self.values, path, short)
        if path in self.values:
            self.cells_by_value.setdefault(path, ValueCounts()).note(short)
        add_values(self.openings, path, short_openings(value))
        # A person's column is no key in a list.
        if "[]" not in path and path in self.values:
            self.cells.setdefault(path, VoteCells(name)).note(value)

    def note_scale(self, aspect: str, scale: str, key: str, where: str) -> None:
        """Record the scale of a verdict, such as `of 5`. An empty scale is ignored."""
        if scale:
            self.scales.setdefault(aspect, {}).setdefault(scale, (key, where))

    def note_literal(self, key: str, value: str, where: str, looks: str) -> None:
        """Count a text that is a printed list, object or bytes. It may be a mistake, so it is asked about."""
        count_key(self.asked, key, Seen(1, where, format_sample(value), looks))

    def note_companion(self, key: str, value: Any, where: str, kind: str) -> None:
        """Count a key without which its row would be learned as something else."""
        count_key(self.companions, key, Seen(1, where, format_sample(value), kind))

    def note_choice(self, key: str, value: Any, where: str) -> None:
        """Count a choice that names neither answer.

        A number is always asked about, and a word if it is frequent.
        """
        number = self.note_choice_number(key, value)
        seen = Seen(1, where, format_sample(value), CHOICE)
        count_key(self.asked if number else self.choices, key, seen)
        if not number:
            add_values(self.values, key, [plain_word(str(value))])

    def note_unclear_side(self, key: str, value: str, where: str) -> None:
        """Ask about a choice that names one answer as a side, and the other one as a model of that name."""
        count_key(self.asked, key, Seen(1, where, format_sample(value), SIDE_OR_MODEL))
        add_values(self.values, key, [plain_word(value)])

    def note_worse(self, key: str, value: Any, side: str, where: str) -> None:
        """Ask about a choice whose column is named after the worse answer, as `loser`, which is `side`."""
        count_key(self.asked, key, Seen(1, where, format_sample(value), CHOICE))
        add_values(self.values, key, [side])

    def note_choice_number(self, key: str, value: Any) -> bool:
        """Record a choice that is a number. Return false for any other.

        All numbers of a column are one scale: if one of them is asked about, so are the others.
        """
        number = as_score(float(value) if isinstance(value, bool) else value)
        if number is not None:
            add_values(self.values, key, [f"{number:g}"])
        return number is not None

    def note_side(self, key: str, side: str) -> None:
        """Count a value of an unread key that names one of two answers, beside their choice."""
        if key in self.sides or len(self.sides) < MOST_KEYS:
            self.sides.setdefault(key, Counter())[side] += 1

    def note_margin(self, key: str, margin: float, choice: str) -> None:
        """Record what a margin beside a choice is not."""
        self.margins[key] = self.margins.get(key, frozenset()) | margin_conflicts(margin, choice)

    def note_word(self, key: str, word: str, where: str) -> None:
        """Count a cell with a word for a missing value."""
        count_key(self.words, key, Seen(1, where, format_sample(word)))

    def add(self, other: KeyCounts) -> None:
        """Add the counts of the part that follows."""
        for name in ("rows", "pairs", "answers", "comparisons", "nameless", "faults"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first_fault = self.first_fault or other.first_fault
        for name in ("unread", "asked", "words", "times", "choices", "companions"):
            for path, seen in getattr(other, name).items():
                count_key(getattr(self, name), path, seen)
        updated = (
            "left_out",
            "understood",
            "used",
            "inside",
            "rejected",
            "file_scales",
            "scale_changes",
            "ties",
            "shapes",
            "reviews",
            "legends",
            "marked",
            "choosers",
        )
        for name in updated:
            getattr(self, name).update(getattr(other, name))
        for name in ("values", "openings"):
            for path, values in getattr(other, name).items():
                add_values(getattr(self, name), path, sorted(values))
        for path, cells in other.cells.items():
            self.cells.setdefault(path, VoteCells()).add(cells)
        for path, counts in other.cells_by_value.items():
            if path in self.values:
                self.cells_by_value.setdefault(path, ValueCounts()).add(counts)
        for aspect, scales in other.scales.items():
            for scale, (key, where) in scales.items():
                self.note_scale(aspect, scale, key, where)
        self.compared = self.compared or other.compared
        self.numbered |= other.numbered
        self.votes.add(other.votes)
        for key, wrong in other.margins.items():
            self.margins[key] = self.margins.get(key, frozenset()) | wrong
        for key, sides in other.sides.items():
            if key in self.sides or len(self.sides) < MOST_KEYS:
                self.sides.setdefault(key, Counter()).update(sides)
