"""Read a source that a folder offers: its rows, and the questions that its preset must answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from model.errors import UserError
from tasks.data.file_io.files import SourceFile, SourceRecord
from tasks.data.formats.registry import find_format
from tasks.data.labels.rated_answers import RatedAnswers
from tasks.data.parsing.base import DocumentUnit, Format, ParseOptions
from tasks.data.parsing.reader import no_rows, read_rows
from tasks.data.questions.proposed_meanings import UNKNOWN
from tasks.data.questions.question_text import shown_values
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import TYPES, Comparison, ParsedRow, Rating, Record
from tasks.data.values.annotators import names_annotator
from tasks.data.values.column_names import Guess
from tasks.data.values.field_meanings import Meaning
from tasks.data.withdrawals import Withdrawn
from tasks.ingestion.repeated_labels import keep_each_once
from tasks.onboarding.annotator_columns import AnnotatorChoice, choose_annotator
from tasks.onboarding.document_units import UnitChoice, choose_unit
from tasks.onboarding.file_heads import file_batches
from tasks.onboarding.time_columns import TimeChoice, choose_time

PACKED = (".gz", ".zst")
PLAIN = "plain"
READ = 8 << 20  # bytes of a source that are read; the rest is taken to be alike
_ROWS = 50_000

_Batch = tuple[list[SourceFile], int]  # files that are read together, and their size in bytes


@dataclass(frozen=True)
class Proposal:
    """A source that a folder offers, with what was read of it.

    Attributes:
        name: The name for the preset.
        format: The format.
        files: Globs or names of its files.
        columns: The file's own column names by the names that formats know.
        document_unit: Whether a plain file is one document, or each paragraph or line is one.
        size: Bytes of the files.
        share: The share of the files that was read.
        rows: The rows of that share.
        notes: Sentences about what reading skipped.
        asked: Keys whose meaning the preset must say, with a proposal for each.
        unknown: Those among them that no rule knows, with some of their values.
        stop: The error that a run ends with until it does.
        faults: The number of rows that cannot be read.
        rejected: The rejection ids of rows that a reviewer rejected, which no source may contain.
        fields: The meanings of columns of scores, from which a choice follows.
        rated: The scores of rated answers, of which no source may contain the bad ones as right.
        reasons: Why a column or a unit of documents was chosen, or the question which one is, by its key.
        proposed: Whether the rows are those that the proposed meanings give.
        told: Whether the columns and the fields are those of an earlier preset of the folder.
        marked_texts: What an earlier preset says about texts with an editorial mark.
        has_marks: Whether the preset must say it.
        exclude: Files that the globs match and that are not read.
    """

    name: str
    format: str
    files: tuple[str, ...]
    columns: dict[str, str]
    document_unit: DocumentUnit
    size: int
    share: float
    rows: tuple[Record, ...]
    notes: tuple[str, ...] = ()
    asked: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    stop: str = ""
    faults: int = 0
    rejected: frozenset[str] = frozenset()
    fields: Mapping[str, Meaning] = field(default_factory=dict)
    rated: RatedAnswers = field(default_factory=RatedAnswers)
    reasons: dict[str, str] = field(default_factory=dict)
    proposed: bool = False
    told: bool = False
    marked_texts: str = ""
    has_marks: bool = False
    exclude: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """Return the estimated number of rows of a kind in the whole source."""
        return round(len(self.of(kind)) / self.share)

    def of(self, kind: str) -> list[Record]:
        """Return the rows of a kind that were read."""
        return [row for row in self.rows if type(row) is TYPES[kind]]


def display_path(path: Path, root: Path) -> str:
    """Return a path relative to the project, with slashes."""
    return Path(os.path.relpath(path, root)).as_posix()


def plain_file_name(path: Path) -> str:
    """Return a file's name without the suffix of its compression."""
    return next((path.name[: -len(end)] for end in PACKED if path.name.lower().endswith(end)), path.name)


def file_ending(path: Path) -> str:
    """Return a file's suffix in lower case, without that of its compression."""
    return Path(plain_file_name(path)).suffix.lower()


def read_proposal(
    name: str,
    guessed: Guess,
    globs: tuple[str, ...],
    paths: Sequence[Path],
    root: Path,
    seen: set[str],
    withdrawn: Withdrawn,
    skip_unknown: bool = False,
) -> Proposal:
    """Read the rows of a source from about READ of its bytes, without those that ingestion drops.

    `seen` has the ids of rows of earlier sources; this source's ids are added. `skip_unknown` ignores the
    columns that no rule knows. Raises UserError for a damaged file.
    """
    # Plain text of few files is split into paragraphs, so that a split can hold some of it out. The format
    # `markdown` reads a file as one document.
    known = find_format(guessed.format)
    prose = known.unit == "file" and file_ending(paths[0]) in (".txt", ".md")
    sources = [SourceFile(display_path(path, root), path=path) for path in paths]
    documents, why = choose_unit(sources) if prose and guessed.format == PLAIN else UnitChoice("file")
    reading = replace(
        ParseOptions(name), document_unit=documents, columns=guessed.columns, fields={**guessed.fields},
        marked_texts=guessed.marked_texts,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in paths)
    taken: list[_Batch] = []
    batches = file_batches(known, sources, prose and documents == "file", READ)
    every, read, tally = _read_batches(known, _kept(batches, taken), reading)
    annotator = _find_annotator(taken, reading, tally)
    if annotator.column:
        named = replace(reading, columns={**reading.columns, "annotator": annotator.column})
        again, covered, counts = _read_batches(known, taken, named)
        # A format that takes no annotator, or rows that lack one, are read as they were.
        if counts.faults == tally.faults and counts.nameless <= tally.nameless:
            reading, every, read, tally = named, again, covered, counts
        else:
            annotator = AnnotatorChoice()
    time = _find_time(taken, reading, tally, every)
    if time.column:
        dated = replace(reading, columns={**reading.columns, "time": time.column})
        again, covered, counts = _read_batches(known, taken, dated)
        if counts.faults == tally.faults:
            reading, every, read, tally = dated, again, covered, counts
        else:
            time = TimeChoice()
    notes = {"annotator": annotator.note, "time": time.note, "document_unit": why}
    if skip_unknown and (skipped := tally.unknown_columns(tally.asks())):
        guessed = guessed._replace(fields={**guessed.fields, **dict.fromkeys(skipped, "ignore")})
        reading = replace(reading, fields={**guessed.fields})
        every, read, tally = _read_batches(known, taken, reading)
    # The error is kept instead of raised: the preset can then propose the missing `fields`.
    stop = ""
    try:
        tally.check(name, guessed.fields)
    except UserError as error:
        stop = str(error)
    # A `stop` is the better message: it says which key must be explained first.
    if not every and not stop:
        raise UserError(no_rows(name, ", ".join(globs), tally))
    # The sizes are those of a run that reads the keys as proposed.
    asks = tally.asks()
    meanings, counts, proposed = tally.propose_fields(asks), tally, False
    kinds = tally.kinds_of(tally.unknown_columns(asks))
    unknown = {path: shown_values(values) for path, values in kinds.items()}
    if stop and (told := _read_as_proposed(known, taken, reading, meanings)):
        (every, read, counts), proposed = told, True
    rejected = frozenset(filter(None, (*counts.rejected, *(found.rejects for found in every))))
    rated = RatedAnswers()
    rows = keep_each_once(every, seen, withdrawn, rejected, rated)
    rated.note_scales(name, counts.scales)
    seen |= {row.id for row in rows}
    # If rows were cut off at _ROWS, the bytes of the rows themselves tell how much of the files was read.
    whole = [one.row for one in every]
    share = min(1.0, read / size) if len(every) < _ROWS else min(1.0, _rows_size(whole) / size)
    return Proposal(
        name, guessed.format, globs, reading.columns, documents, size, share, tuple(rows),
        tuple(tally.lines(guessed.fields)), meanings, unknown, stop, counts.faults, rejected, guessed.fields,
        rated, {key: note for key, note in notes.items() if note}, proposed, guessed.told,
        guessed.marked_texts, tally.marked.count > 0,
    )  # fmt: skip


def _kept(batches: Iterable[_Batch], taken: list[_Batch]) -> Iterator[_Batch]:
    """Yield the batches, and keep those that were asked for, as a head of each large file is in memory."""
    for batch in batches:
        taken.append(batch)
        yield batch


def _read_batches(
    known: Format, batches: Iterable[_Batch], reading: ParseOptions
) -> tuple[list[ParsedRow], int, SkipCounts]:
    """Return the rows of a source that can be read, the bytes that were read, and what reading skipped."""
    every: list[ParsedRow] = []
    read, tally = 0, SkipCounts()
    for files, covered in batches:
        found = islice(read_rows(known, files, reading, tally), _ROWS - len(every))
        every += [one for one in found if not one.row.fault]
        read += covered
        if read >= READ or len(every) >= _ROWS:
            break
    return every, read, tally


def _read_as_proposed(
    known: Format, batches: Sequence[_Batch], reading: ParseOptions, meanings: Mapping[str, str]
) -> tuple[list[ParsedRow], int, SkipCounts] | None:
    """Return what `_read_batches` does, with the proposed meanings; None if these are not enough.

    Rows with an editorial mark on a text are left out, as the preset proposes too.
    """
    if any(UNKNOWN in meaning for meaning in meanings.values()):
        return None
    told = {path: yaml.safe_load(meaning) for path, meaning in meanings.items()}
    fields = {**reading.fields, **told}
    marked = reading.marked_texts or "leave_out"
    found = _read_batches(known, batches, replace(reading, fields=fields, marked_texts=marked))
    try:
        found[2].check(reading.source, fields)
    except UserError:
        return None
    return found if found[0] else None


def _asks_for_verdicts(tally: SkipCounts) -> bool:
    """Return whether rows become labels as soon as the preset says what their verdict means."""
    asked = tally.propose_all(tally.asks()).values()
    return any(said in ("verdict", "penalty") or said[:1] == "{" for said in asked)


def _find_annotator(batches: Sequence[_Batch], reading: ParseOptions, tally: SkipCounts) -> AnnotatorChoice:
    """Return the column of the annotator of labels without one, or of rows whose verdict is asked about."""
    asks = tally.asks()
    if "annotator" in reading.columns or not (tally.nameless or _asks_for_verdicts(tally)):
        return AnnotatorChoice()
    # `rated by` is asked about, as its name has a word of a verdict.
    among = [path for path in tally.unread if path not in asks or names_annotator(path)]
    return choose_annotator(_raw_rows(batches), among, reading.columns)


def _find_time(
    batches: Sequence[_Batch], reading: ParseOptions, tally: SkipCounts, every: Sequence[ParsedRow]
) -> TimeChoice:
    """Return the column with the time of labels without one, or of rows whose verdict is asked about."""
    labels = [one.row for one in every if isinstance(one.row, Comparison | Rating)]
    dated = any(row.time if isinstance(row, Comparison) else any(row.times) for row in labels)
    if "time" in reading.columns or dated or not (labels or _asks_for_verdicts(tally)):
        return TimeChoice()
    asks = tally.asks()
    return choose_time(_raw_rows(batches), [path for path in tally.unread if path not in asks])


def _raw_rows(batches: Sequence[_Batch]) -> Iterator[Mapping[str, Any]]:
    """Yield the first rows of a source as they stand in its files."""
    rows = (
        item.values
        for files, _ in batches
        for file in files
        for item in file.all_items()
        if isinstance(item, SourceRecord)
    )
    return islice(rows, _ROWS)


def _rows_size(rows: Sequence[Record]) -> int:
    return sum(len(str(value)) for row in rows for value in vars(row).values())
