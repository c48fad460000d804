"""Read what keys beside the texts say about a row: verdicts, votes, reviews, masks and deletions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from model.errors import UserError
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.preference_fields import row_aspect
from tasks.data.parsing.side_columns import side_scores
from tasks.data.parsing.vote_reasons import without_vote_reason
from tasks.data.questions.review_columns import TOLD
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.questions.vote_cells import as_grade, is_no_vote, read_vote
from tasks.data.values.field_meanings import KNOWN, MASKS, REVIEWS, VOTES, flatten_name, is_empty
from tasks.data.values.key_paths import find_keys, value_at
from tasks.data.values.scale_direction import LOWER, scale_direction
from tasks.data.values.score_values import is_beyond_scale, is_date, number_advice
from tasks.data.values.several_scores import COUNTS, as_count, comma_scale, count_votes, split_values
from tasks.data.values.value_meanings import maps_empty, maps_sides, read_meaning
from tasks.data.values.verdict_scales import GRADES, WORDS, exceeds_scale, scale_of
from tasks.data.verdicts.verdict_names import value_parts

DELETED = "rows marked as deleted"
UNLEARNED = "rows marked as not to be learned"
SKIPPED = "rows that a reviewer skipped"
NO_VOTE = "votes without a decision, such as skip or ?"
EMPTY_VOTE = "votes that nobody gave, as the person's cell is empty"
UNCOUNTED = "pairs without a vote for or against them"
# Kinds in KNOWN that are judgements, so an empty value means that the row is not judged yet.
JUDGEMENTS = ("thumb", "thumb_down", "word", "number", "review")
# Keys that also occur in data without verdicts, so an empty one means nothing. `answer` may be a final
# answer.
OTHERWISE = frozenset(("answer",))
# The own keys of a rating. Empty, they leave a pair that nobody rated.
SCORES = ("score", "scores")
UP, DOWN = ("thumbs_up", "thumb_up", "liked"), ("thumbs_down", "thumb_down", "disliked")
_MISSING = object()


@dataclass(frozen=True)
class Verdicts:
    """The verdicts, votes, reviews and marks in keys beside the texts of a row.

    Attributes:
        score: The verdict.
        key: The key of the verdict.
        votes: Scores by columns of people.
        several: Scores of several people under one key.
        review: A reviewer's answer: accept, reject or ignore.
        learned: Whether no mask excludes the row.
        deleted: Whether the row is marked as deleted.
        told: Whether the preset gives the meaning of the verdict's key.
        unrated: A key for a verdict that is empty.
        unreviewed: The same for a reviewer's answer.
    """

    score: float | None = None
    key: str = ""
    votes: dict[str, float] = field(default_factory=dict)
    several: tuple[float, ...] = ()
    review: str = ""
    learned: bool = True
    deleted: bool = False
    told: bool = False
    unrated: str = ""
    unreviewed: str = ""

    @property
    def rates(self) -> bool:
        """True if a pair with these verdicts is a rating."""
        return self.score is not None or bool(self.votes or self.several) or self.review == "reject"

    @property
    def contradicts_rejection(self) -> bool:
        """True if somebody rated the answer otherwise than with -1, as a rejection does."""
        scores = [*self.votes.values(), *self.several, *([] if self.score is None else [self.score])]
        return any(score != -1 for score in scores)

    def left_out(self) -> str:
        """Return why the row is excluded; empty if it is not."""
        if self.deleted:
            return DELETED
        if self.review == "ignore":
            return SKIPPED
        return "" if self.learned else UNLEARNED

    def plus(self, what: str, value: Any, key: str) -> Verdicts:
        """Return the verdicts with those of one more key, as of `read_meaning`."""
        if what == "verdict":
            return replace(self, score=value, key=key)
        if what == "review":
            # The strictest of several reviews counts.
            strict = ("reject", "ignore", "accept", "")
            return replace(self, review=min(self.review, value, key=strict.index))
        if what == "learn":
            return replace(self, learned=self.learned and value)
        return replace(self, deleted=self.deleted or value) if what == "deleted" else self


@dataclass(frozen=True)
class SourceRow:
    """A row as in its file, with its place, the options of the parser, and the counts of what is left out."""

    values: Mapping[str, Any]
    reading: ParseOptions
    where: str
    tally: SkipCounts


def read_verdicts(
    values: dict[str, Any], own: frozenset[str], reading: ParseOptions, where: str, tally: SkipCounts
) -> tuple[Verdicts, dict[str, Any]]:
    """Read the keys with a known meaning, and return their verdicts and the row without these keys.

    A key whose value is not understood stays in the row. It is asked about when unread keys are counted.
    """
    said, rest = Verdicts(), dict(values)
    scored: dict[str, float] = {}
    counts: dict[str, int] = {}
    sides: Collection[str] = side_votes(values, reading) or side_scores(values, reading) or ()
    told = (*told_keys(values, reading), *_unmarked(values, reading))
    columns = {column: name for name, column in reading.columns.items()}
    # Before the values are read: the first that cannot be read ends the row.
    tally.used.update(path for path, value in told if value is not _MISSING)
    cells = [(path, value) for path, value in told if path not in sides and reading.fields[path] in VOTES]
    note_empty_votes(cells, reading, tally)
    for path, value in told:
        value = None if value is _MISSING else value
        if path in sides:
            continue
        meaning, top = reading.fields[path], path.partition(".")[0]
        told_path = reading.told_path(path)
        # choices.py reads the choice between two answers.
        if path == reading.column("choice") and path in own and isinstance(meaning, Mapping):
            continue
        if meaning in ("text", "correction"):
            if meaning == "correction":
                rest.pop(path, None)
            continue
        if path == top or meaning == "ignore":
            rest.pop(path, None)
        if meaning in COUNTS:
            counts[str(meaning)] = counts.get(str(meaning), 0) + _vote_count(value, path, where)
            said = replace(said, key=path)
            continue
        parts = split_values(value) if meaning in ("verdict", "penalty") else None
        if parts is not None and len(parts) < 2:
            value = next(iter(parts), None)
        elif parts is not None:
            several = _several_scores(parts, path, reading, where, tally, values)
            tally.note_scale(row_aspect(values, reading), comma_scale(value), path, where)
            if path in own:
                rest[path] = several
            else:
                said = replace(said, several=(*said.several, *several), key=path, told=True)
            continue
        empty = is_empty(value) and not maps_empty(meaning)
        # The other keys of a format, such as `completion`, hold no verdict.
        scores = path not in own or columns.get(path, path) in SCORES
        if empty and scores and meaning not in ("weight", "mask", "deleted", "ignore"):
            said = replace(said, unrated=path)
            if path in own:
                rest[path] = value  # a column that `columns` names must be there
            if is_review(meaning):
                said = replace(said, unreviewed=path)
        if empty and meaning in MASKS:
            tally.reviews.note(path, where, TOLD)
        if empty or meaning == "ignore":
            continue
        value = without_vote_reason(path, meaning, value, where, tally)
        read = read_meaning(path, meaning, value) or _read_tags(path, meaning, value)
        # A mapping of values defines its own scale, so only spellings that `fields` does not map are
        # recorded.
        if read is not None and read[0] == "verdict" and isinstance(meaning, str):
            tally.note_scale(row_aspect(values, reading), scale_of(value, meaning), told_path, where)
            tally.note_scale(row_aspect(values, reading), comma_scale(value), told_path, where)
        if read is None and meaning == "vote":
            voted = read_vote(value, [values.get(one) for one in reading.fields if one != path])
            if voted is not None:
                read = ("verdict", voted)
                scale = WORDS if as_grade(value) is None else GRADES
                tally.note_scale(row_aspect(values, reading), scale, told_path, where)
        if read is None and meaning in VOTES:
            # Only this person's vote is lost, not those beside it.
            if is_no_vote(value):
                tally.left_out[NO_VOTE] += 1
                tally.votes.note_undecided(told_path, value, where)
            else:
                tally.votes.note(
                    told_path, value, where, "a number, yes or no, a grade, or a word such as good"
                )
            said = replace(said, unrated=told_path)
            continue
        if read is None:
            raise UserError(
                f"{where}: {path} is {str(value)!r:.60}, a value without a meaning in fields; add "
                f"it there, or remove the row{number_advice(value)}"
            )
        if read[0] == "choice":
            raise UserError(
                f"{where}: fields maps a value of {path} to {read[1]}, which is right for the choice between "
                "two answers only; name its column under columns, as in {choice: "
                f"{path}}}, or map it to a number, accept, reject or ignore"
            )
        if meaning in VOTES:
            tally.votes.read[told_path] += 1
            said.votes[path] = read[1]
            continue
        if read[0] == "verdict" and path in own:
            rest[path] = read[1]
            continue
        if read[0] == "verdict":
            scored[path] = read[1]
        said = replace(said.plus(*read, path), told=True)
    names = columns
    for key, value in values.items():
        kind = KNOWN.get(flatten_name(names.get(key, key)))
        if key in own and key not in reading.fields:
            if names.get(key, key) in SCORES and is_unscored(value):
                said = replace(said, unrated=said.unrated or key)
            _note_scales(names.get(key, key), kind, value, key, values, reading, where, tally)
            # `columns` gives a grade the name `score`, for which higher is better.
            if names.get(key, key) in SCORES and scale_direction(key, (str(value),)) == LOWER:
                tally.note_unread(key, value, where, "a verdict")
                tally.note_values(key, value)
            continue
        if kind is None or key in own or key in reading.fields:
            continue
        if is_empty(value):
            if kind in JUDGEMENTS and flatten_name(key) not in OTHERWISE:
                said = replace(said, unrated=said.unrated or key)
                said = replace(said, unreviewed=said.unreviewed or (key if kind == "review" else ""))
                rest.pop(key)
            elif kind in (*MASKS, "review"):
                tally.reviews.note(key, where)
            continue
        value = without_vote_reason(key, None, value, where, tally)
        read = read_meaning(key, None, value)
        if read is None and kind == "number" and is_beyond_scale(value):
            raise UserError(
                f"{where}: {key} is {str(value)!r:.40}, which is beyond the end of its own scale; correct it"
            )
        if read is None and kind in ("number", "thumb", "thumb_down") and is_date(value):
            raise UserError(
                f"{where}: {key} is {str(value)!r:.40}, a date; spreadsheets make one of 4/5 or 1-2"
            )
        if read is None or exceeds_scale(key, value):
            continue
        tally.understood[key] += 1
        rest.pop(key)
        if _says_nothing(key, read, values):
            said = replace(said, unrated=said.unrated or key)
            continue
        if read[0] == "verdict":
            scored[key] = read[1]
            tally.note_scale(row_aspect(values, reading), scale_of(value, kind), key, where)
        said = said.plus(*read, key)
    if counts:
        votes = count_votes(counts)
        said = replace(said, several=(*said.several, *votes), told=True)
        said = said if votes else replace(said, unrated=UNCOUNTED)
    # Two verdicts with the same score agree, as `label: good` and `thumbs_up: true`, and count as one.
    if len(set(scored.values())) > 1:
        first, second = list(scored)[:2]
        raise UserError(
            f"{where}: {first} and {second} are two verdicts; ignore one of them in the source's "
            f"fields, as in fields: {{{second}: ignore}}"
        )
    # Adding the verdict to the votes would count one of the people twice if it is their majority.
    others = [*said.votes, *([said.key] if said.several else [])]
    if others and (scored or len(others) > len(said.votes) > 0):
        one = next(iter(scored), said.key)
        raise UserError(
            f"{where}: {one} is a verdict beside the votes of "
            f"{', '.join(name for name in others if name != one)}; ignore it in the source's fields, as in "
            f"fields: {{{one}: ignore}}"
        )
    return said, rest


def _read_tags(path: str, meaning: Any, value: Any) -> tuple[str, Any] | None:
    """Return the strictest review of a list of tags, as `birds, rejected`, which `fields` maps one by one."""
    if not isinstance(meaning, Mapping):
        return None
    read = [read_meaning(path, meaning, one) for one in value_parts(value) if not is_empty(one)]
    reviews = [one[1] for one in read if one is not None and one[0] == "review"]
    if not reviews or len(reviews) < len(read):
        return None
    return "review", min(reviews, key=("reject", "ignore", "accept").index)


def _vote_count(value: Any, path: str, where: str) -> int:
    """Return a number of votes. Raise UserError for anything else. An empty cell has none."""
    count = 0 if is_empty(value) else as_count(value)
    if count is None:
        raise UserError(f"{where}: {path} is {value!r:.40}; expected a number of votes, from 0")
    return count


def _several_scores(
    parts: list[Any],
    path: str,
    reading: ParseOptions,
    where: str,
    tally: SkipCounts,
    values: Mapping[str, Any],
) -> list[float]:
    """Return the scores of several people under one key. Raise UserError for a part that is none."""
    meaning = reading.fields[path]
    scores = []
    for part in parts:
        read = read_meaning(path, meaning, part)
        if read is None:
            raise UserError(f"{where}: {path} holds {str(part)!r:.40} among several scores; expected a score")
        tally.note_scale(row_aspect(values, reading), scale_of(part, str(meaning)), path, where)
        scores.append(float(read[1]))
    return scores


def side_votes(values: Mapping[str, Any], reading: ParseOptions) -> dict[str, Any]:
    """Return the choices between two answers by the columns that `fields` declares as votes.

    Empty if the row has no two answers, or a choice of its own.
    """
    a, b, choice = (reading.column(name) in values for name in ("a", "b", "choice"))
    if not a or not b or choice:
        return {}
    return {path: value for path, value in told_keys(values, reading) if is_side_vote(reading.fields[path])}


def note_empty_votes(cells: Collection[tuple[str, Any]], reading: ParseOptions, tally: SkipCounts) -> None:
    """Count the empty cells of people's columns in a row. A row without any vote is counted as a row.

    Args:
        cells: The columns of the row that `fields` declares as votes, with their values.
        reading: The options of the parser.
        tally: The counts of the source.
    """
    empty = sum(is_empty(value) and not maps_empty(reading.fields[path]) for path, value in cells)
    if 0 < empty < len(cells):
        tally.left_out[EMPTY_VOTE] += empty


def is_side_vote(meaning: Any) -> bool:
    """Return whether a meaning of `fields` makes a column one person's choices between two answers."""
    return meaning == "vote" or maps_sides(meaning)


def _note_scales(
    name: str,
    kind: str | None,
    value: Any,
    key: str,
    values: Mapping[str, Any],
    reading: ParseOptions,
    where: str,
    tally: SkipCounts,
) -> None:
    """Record the scales of a format's own scores: `score`, `label`, or the list `scores`."""
    if name == "scores":
        tally.note_scale(row_aspect(values, reading), comma_scale(value), key, where)
        value = split_values(value) or value
        kind = "number"
    if kind not in ("number", "word"):
        return
    for one in value if isinstance(value, list) else [value]:
        if not is_empty(one):
            tally.note_scale(row_aspect(values, reading), scale_of(one, kind), key, where)


def is_review(meaning: Any) -> bool:
    """Return whether a meaning of `fields` makes a column a reviewer's answer."""
    if isinstance(meaning, Mapping):
        return all(said in REVIEWS for said in meaning.values())
    return bool(meaning == "review")


def is_unscored(value: Any) -> bool:
    """Return whether a score or a list of scores is empty, also a list that a table holds as text."""
    nobody = isinstance(value, list) and all(map(is_empty, value))
    return is_empty(value) or nobody or (isinstance(value, str) and value.strip() in ("[]", "()"))


def _says_nothing(key: str, read: tuple[str, Any], values: Mapping[str, Any]) -> bool:
    """Return whether a thumb says nothing: a false thumb down, or a false thumb up beside a thumb down."""
    flats = {flatten_name(name) for name in values}
    if flatten_name(key) in DOWN:
        return read == ("verdict", 1.0)
    return flatten_name(key) in UP and read == ("verdict", -1.0) and bool(flats & set(DOWN))


def told_keys(values: Mapping[str, Any], reading: ParseOptions) -> Iterator[tuple[str, Any]]:
    """Yield the keys of the row that `fields` names, also inside objects, with their values."""
    for path in reading.fields:
        # Keys within the turns of a conversation are read by `row_stream`, turn by turn.
        if "[]" in path:
            continue
        if keys := find_keys(values, path):
            yield path, value_at(values, keys)


def _unmarked(values: Mapping[str, Any], reading: ParseOptions) -> Iterator[tuple[str, Any]]:
    """Yield the keys that the row lacks, if `fields` says what their absence means."""
    for path, meaning in reading.fields.items():
        if maps_empty(meaning) and "[]" not in path and find_keys(values, path) is None:
            yield path, _MISSING
