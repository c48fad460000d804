"""Read a source row by row, in the same way for `init`, the dry run and ingestion.

`read_rows` yields the rows of some files and counts in SkipCounts what it skips. A row that cannot be read
becomes a record with a `fault`, which validation quarantines with its file and line.

Callers then add up the counts of a source's parts in their order (`SkipCounts.add`). They call
`SkipCounts.check(source.name, source.fields)`, which stops at keys that look like a verdict or a mask, and
show `SkipCounts.lines()` to the user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice

from model.errors import UserError
from tasks.common.annotators import is_nobody
from tasks.common.counts import counted
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.base import Format, ParseOptions
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import TYPES, Comparison, Fault, Pair, ParsedRow, Rating, fault_row
from tasks.data.values.editorial_marks import MARKED_TEXTS, find_editorial_mark
from tasks.data.values.placeholder_texts import explain_placeholder

EQUAL_ANSWERS = "comparisons of two equal answers, which are ties"
LOOKED = 200  # rows of a file to search for its kind of rows
# The largest number in a preset, so no `validate.limits.max_score` admits a larger score.
LARGEST_SCORE = 1e15
_KINDS = {found: kind for kind, found in TYPES.items()}


def read_rows(
    format: Format,
    files: Sequence[SourceFile],
    reading: ParseOptions,
    tally: SkipCounts,
    strict: bool = False,
) -> Iterator[ParsedRow]:
    """Yield the rows of files in order. A row that cannot be read becomes a record with a `fault`.

    Args:
        format: The format of the files.
        files: Files, or parts of files, of one source.
        reading: The options of the parser.
        tally: Counts what is skipped. It is complete when the iterator ends.
        strict: Whether to stop at the first row that cannot be read.

    Raises:
        UserError: A file is damaged as a whole, or `strict` is true and a row or a vote in it cannot be read.
    """
    kinds: dict[str, str] = {}
    for found in format.stream(files, reading, tally):
        if strict and tally.votes.first:
            break
        if isinstance(found, ParsedRow):
            says = (
                _unwritable(found)
                or _explain_score(found)
                or _explain_contradiction(found)
                or explain_placeholder(found, reading.fields)
            )
            if not says:
                if reading.marked_texts != "keep" and (mark := find_editorial_mark(found.row)):
                    if reading.marked_texts == "leave_out":
                        tally.left_out[MARKED_TEXTS] += 1
                        continue
                    tally.marked.note(found.where, mark)
                tally.rows += 1
                tally.pairs += isinstance(found.row, Pair)
                tally.comparisons += isinstance(found.row, Comparison)
                tally.answers += isinstance(found.row, Pair | Rating)
                tally.nameless += found.anonymous
                if isinstance(found.row, Comparison) and found.row.a == found.row.b != "":
                    tally.left_out[EQUAL_ANSWERS] += 1
                if isinstance(found.row, Rating):
                    tally.file_scales.note(found.row.aspect, found.where, found.row.scores)
                    tally.scale_changes.note(found.row.aspect, found.where, found.row.scores)
                yield found
                continue
            found = Fault(found.where, f"{found.where}: {says}", _KINDS[type(found.row)])
        if strict:
            raise UserError(f"source {reading.source} is strict: {found.says}")
        # Counted and kept as a row, so that validation can limit the share of unreadable rows.
        tally.fault(found.says)
        kind = found.kind or format.kind or _kind_of(format, files, found.where, reading, kinds)
        yield ParsedRow(fault_row(kind, reading.source, found.where, found.says), found.where)
    # A row may have lost one person's vote and still be read, or have none left.
    if strict and tally.votes.first:
        raise UserError(f"source {reading.source} is strict: {tally.votes.first}")


def no_rows(source: str, names: str, tally: SkipCounts) -> str:
    """Return why a source has no rows: it is empty, or none of its rows can be read."""
    if tally.faults:
        none = f"none of {counted(tally.faults, 'rows')} in {names} can be read"
        return f"source {source}: {none}; the first: {tally.first_fault}"
    left_out = "; ".join(line for line in tally.lines() if line.startswith("left out"))
    return f"source {source}: no rows in {names}" + (f" ({left_out})" if left_out else "")


def _unwritable(found: ParsedRow) -> str:
    """Return why a record cannot be written as UTF-8: it contains half of a surrogate pair."""
    for name, value in vars(found.row).items():
        if not _is_whole(value):
            return f"{name} contains half of a character (a lone surrogate); fix the text or remove the row"
    return ""


def _explain_score(found: ParsedRow) -> str:
    """Return why a rating has a score that no scale has; empty if it has none.

    Such a score is infinite in the arithmetic of a training, and would set the limits that `init` proposes.
    """
    scores = found.row.scores if isinstance(found.row, Rating) else []
    huge = next((score for score in scores if abs(score) > LARGEST_SCORE), None)
    if huge is None:
        return ""
    return f"a score is {huge:g}; a score is at most {LARGEST_SCORE:g} from 0; correct it or remove the row"


def _explain_contradiction(found: ParsedRow) -> str:
    """Return why a rating is no rating: one person's scores in it contradict each other; empty if not."""
    row = found.row
    if not isinstance(row, Rating) or len(row.annotators) != len(row.scores):
        return ""
    given: dict[str, float] = {}
    for name, score in zip(row.annotators, row.scores, strict=True):
        before = 0.0 if is_nobody(name) else given.setdefault(name, score)
        if before * score < 0:
            return f"{name} gives the answer {before:g} and {score:g}, which contradict each other; keep one"
    return ""


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        if value.isascii():
            return True
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, dict):
        return all(map(_is_whole, value.values()))
    return all(map(_is_whole, value)) if isinstance(value, list) else True


def _kind_of(
    format: Format, files: Sequence[SourceFile], where: str, reading: ParseOptions, known: dict[str, str]
) -> str:
    """Return the kind of the first readable row of a file, which its unreadable rows are taken to have.

    The whole file is searched, not only the given part, so that the result does not depend on the parts.
    """
    # The longest name that matches: a.jsonl also begins the place of a row in a.jsonl.gz.
    file = max(files, key=lambda file: len(file.origin) if where.startswith(file.origin) else 0)
    if file.origin not in known:
        whole = dataclasses.replace(file, start=0, stop=None, first=1)
        rows = (
            _KINDS[type(found.row)]
            for found in islice(format.stream([whole], reading, SkipCounts()), LOOKED)
            if isinstance(found, ParsedRow)
        )
        known[file.origin] = next(rows, "pairs")
    return known[file.origin]
