"""Sort rows into shards by id: in runs that fit into memory, then by ranges of ids over all runs.

The shards do not depend on how the input was cut, nor on the number of processes.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.labels.rated_answers import RatedAnswers
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import (
    ID,
    TYPES,
    Comparison,
    Rating,
    Record,
    canonical_line,
    json_line,
    list_shards,
    text_digest,
)
from tasks.data.rejections import holds_rejection, rejection_id, rejection_numbers
from tasks.data.sources.source_reading import check_annotators
from tasks.data.sources.source_types import Source
from tasks.data.withdrawals import NOTHING, Withdrawn

RUN_BYTES = 32 << 20  # bytes that one process sorts in memory
SHARD_BYTES = 32 << 20
PREFIXES = 1 << 16  # ranges begin and end at values of the first four hex digits
ROW_BYTES = 400  # memory that Python needs for a row besides its text
_KINDS = {found: kind for kind, found in TYPES.items()}
CLAIMS = "claims"
VOTE = b"vote "  # marks the place of a label of an unknown person
SPACED = b"spaced "  # marks the place of a row with white space at the ends, before its rejection id
_REJECTION = slice(len(SPACED), len(SPACED) + 16)


class WithdrawnRow(NamedTuple):
    """What decides whether a withdrawn row would be kept beside others: its rejection id, and its label."""

    rejection: str
    label: Any


@dataclass(frozen=True)
class ParseTask:
    """Files, or parts of files, for one process to parse: part `number` of the source at `source_index`.

    Its runs are written to `runs`/KIND, without `withdrawn` rows. `label_of` returns the label of a row and
    its place, by which repeated labels are known.
    """

    source: Source
    source_index: int
    number: int
    files: tuple[SourceFile, ...]
    format: str
    reading: ParseOptions
    runs: Path
    withdrawn: Withdrawn
    label_of: Callable[[Mapping[str, Any], str], Any]


@dataclass(frozen=True)
class ParseResult:
    """The result of parsing a part.

    Attributes:
        source_index: The index of the source.
        rows: The number of rows.
        tally: Counts of what was skipped.
        sizes: Bytes in the runs by kind.
        written: Rows by kind, including duplicates.
        gone: Withdrawn rows by kind and id.
        reduced: The kinds and ids of rows that lost judgements of withdrawn people.
        rejected: The ids of pairs whose answers a reviewer rejected, and of other rejected rows.
        rated: The scores of rated answers.
    """

    source_index: int
    rows: int
    tally: SkipCounts
    sizes: dict[str, int]
    written: dict[str, int]
    gone: dict[str, dict[str, WithdrawnRow]]
    reduced: frozenset[tuple[str, str]]
    rejected: frozenset[str]
    rated: RatedAnswers


@dataclass(frozen=True)
class KeyRange:
    """The rows of a kind whose id's first four digits are in [first, stop), which become shard `number`.

    Rows with an id in `rejected` are left out, and rows with white space at the ends whose rejection id is
    in `spaced`, as it may lie in any range. `withdrawn` is for votes, whose ids are only known here.
    """

    kind: str
    first: int
    stop: int
    number: int
    runs: Path
    out: Path
    rejected: frozenset[bytes] = frozenset()
    spaced: np.ndarray = field(default_factory=lambda: rejection_numbers(()))
    withdrawn: Withdrawn = NOTHING


@dataclass(frozen=True)
class ShardResult:
    """The number of rows and bytes of a shard, of rows that are left out as rejected and as withdrawn, and of
    written rows that could not be read.
    """

    kind: str
    rows: int
    size: int
    rejected: int
    withdrawn: int = 0
    unreadable: int = 0


def sort_part(part: ParseTask) -> ParseResult:
    """Parse a part into runs of rows sorted by id, each with its place; of equal ids the first is kept.

    Raises:
        UserError: A file is damaged as a whole, or a label is by a person whom the source does not name.
    """
    runs, tally = _Runs(part), SkipCounts()
    rows = 0
    gone: dict[str, dict[str, WithdrawnRow]] = {}
    reduced: set[tuple[str, str]] = set()
    rejected, rated = set[str](), RatedAnswers()
    written = dict.fromkeys(TYPES, 0)
    unnumbered = replace(part.withdrawn, ids=frozenset())
    # Found by name: parsers are closures, which cannot be sent to another process.
    format = find_format(part.format)
    for found in read_rows(format, part.files, part.reading, tally, part.source.strict):
        rows += 1
        kind = _KINDS[type(found.row)]
        # Equal votes have one id until they are numbered, so their shard decides which of them an id means.
        vote = found.anonymous and isinstance(found.row, Comparison | Rating)
        asked = unnumbered if vote else part.withdrawn
        row = asked.filter_row(found.row) if asked else found.row
        if row is None:
            number = f"{found.row.id} {part.source_index} {part.number} {rows}" if vote else found.row.id
            once = WithdrawnRow(rejection_id(found.row), part.label_of(vars(found.row), found.where))
            gone.setdefault(kind, {}).setdefault(number, once)
            continue
        # `filter_row` returns the same object if nothing is withdrawn from it.
        if row is not found.row:
            reduced.add((kind, found.row.id))
            found = found._replace(row=row)
        check_annotators(part.source, found)
        if found.rejects:
            rejected.add(found.rejects)
        rated.note(row)
        where = json.dumps(found.where, ensure_ascii=False)
        written[kind] += 1
        known = row.id if vote else rejection_id(row)
        runs.add(kind, canonical_line(row), where, vote, "" if known == row.id else known)
        if found.own:
            # Other sources, and other kinds of one source, may number their rows from 0 too.
            claim = {"id": text_digest(part.source.name, kind, found.own), "row": row.id}
            line = json.dumps({**claim, "own": found.own}, ensure_ascii=False, separators=(",", ":"))
            runs.add(CLAIMS, line, where)
    runs.flush()
    rated.note_scales(part.source.name, tally.scales)
    return ParseResult(
        part.source_index, rows, tally, runs.sizes, written, gone, frozenset(reduced),
        frozenset(rejected | tally.rejected), rated,
    )  # fmt: skip


class _Runs:
    """A buffer of lines that is written as a run when it is full: one file of lines, one of offsets."""

    def __init__(self, part: ParseTask) -> None:
        self.part = part
        self.number = 0
        self.held = 0
        self.votes = 0
        self.rows: dict[str, dict[bytes, tuple[bytes, bytes]]] = {}
        self.sizes: dict[str, int] = {}

    def add(self, kind: str, line: str, where: str, vote: bool = False, spaced: str = "") -> None:
        row, place = line.encode("utf-8", "replace"), where.encode("utf-8", "replace")
        # Several rows may claim one id, which is an error to report later, so the whole line is the key.
        key = row if kind == CLAIMS else row[ID]
        held = self.rows.setdefault(kind, {})
        if vote:
            # Equal votes have one id. Each is kept, in the order in which they were found.
            self.votes += 1
            key, place = key + b"%020d" % self.votes, VOTE + place
        if spaced:
            place = SPACED + spaced.encode() + b" " + place
        if key not in held:
            held[key] = (row, place)
            # An estimate is enough: the bound is on memory, and runs may have any length.
            self.held += len(row) + len(place) + ROW_BYTES
            if self.held > RUN_BYTES:
                self.flush()

    def flush(self) -> None:
        for kind, rows in self.rows.items():
            folder = self.part.runs / kind
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{self.part.source_index:06}-{self.part.number:06}-{self.number:06}"
            sizes = np.zeros(PREFIXES + 1, "<i8")
            with (folder / f"{name}.rows").open("wb") as file:
                for key in sorted(rows):
                    row, place = rows[key]
                    # The cumulated sizes are offsets: a range of ids is then one read from each run.
                    sizes[int(row[ID][:4], 16) + 1] += file.write(row + b"\n" + place + b"\n")
                    self.sizes[kind] = self.sizes.get(kind, 0) + len(row) + 1
            np.cumsum(sizes).astype("<i8").tofile(folder / f"{name}.bounds")
        self.rows, self.held = {}, 0
        self.number += 1


def key_ranges(
    kind: str,
    size: int,
    runs: Path,
    out: Path,
    rejected: Collection[str] = (),
    withdrawn: Withdrawn = NOTHING,
) -> list[KeyRange]:
    """Divide the ids of a kind into ranges of equal width, one for each shard of about SHARD_BYTES.

    Args:
        kind: The kind of rows.
        size: The bytes of all rows of the kind.
        runs: The folder of the runs.
        out: The folder for the shards.
        rejected: Rejection ids of rows to leave out. Each range gets those that are in it.
        withdrawn: Withdrawals, of which each range leaves out the votes.

    Returns:
        The ranges in order. Their number is a power of two.
    """
    count = shard_count(size)
    width = PREFIXES // count
    ids: dict[int, set[bytes]] = {}
    for one in rejected:
        ids.setdefault(int(one[:4], 16) // width, set()).add(one.encode())
    spaced = rejection_numbers(rejected)
    return [
        KeyRange(kind, n * width, (n + 1) * width, n, runs, out, frozenset(ids.get(n, ())), spaced, withdrawn)
        for n in range(count)
    ]


def shard_count(size: int) -> int:
    """Return the power of two that makes shards of at most SHARD_BYTES, if all have the same size."""
    count = 1
    while count < PREFIXES and size > count * SHARD_BYTES:
        # A power of two divides the ranges of ids evenly, and halves of a shard are again shards of the next
        # layout.
        count *= 2
    return count


def gather_range(part: KeyRange) -> ShardResult:
    """Write shard `number` of out/rows/KIND, and the places of its rows to out/origins/KIND.

    Equal rows are kept once. Labels of unknown people are votes, and equal votes are numbered.
    """
    rows: dict[bytes, tuple[bytes, bytes]] = {}
    votes: Counter[bytes] = Counter()
    spaced: set[bytes] = set()
    voted: set[bytes] = set()
    for row, place in _read_range(part):
        if place.startswith(SPACED):
            known, place = place[_REJECTION].decode(), place[_REJECTION.stop + 1 :]
            if holds_rejection(part.spaced, known):
                spaced.add(row[ID])
                continue
        if place.startswith(VOTE):
            votes[row[ID]] += 1
            row, place = _number_vote(row, votes[row[ID]]), place.removeprefix(VOTE)
            voted.add(row[ID])
        # `_read_range` goes by the order of sources, so the first of equal rows wins, however the work was
        # divided.
        rows.setdefault(row[ID], (row, place))
    left_out = [rows.pop(one) for one in part.rejected if one in rows]
    gone = _withdraw_votes(part, rows, voted) if part.withdrawn else 0
    size = unreadable = 0
    with _shard_path(part, "rows") as lines, _shard_path(part, "origins") as places:
        for key in sorted(rows):
            row, place = rows[key]
            size += lines.write(row + b"\n")
            places.write(place + b"\n")
            # A canonical line has the key only with a reason. In a text, the quotes have backslashes.
            unreadable += b',"fault":"' in row
    return ShardResult(part.kind, len(rows), size, len(left_out) + len(spaced), gone, unreadable)


def _withdraw_votes(part: KeyRange, rows: dict[bytes, tuple[bytes, bytes]], voted: Collection[bytes]) -> int:
    """Remove the votes that are withdrawn by the id or the name that numbering gave them; return how many."""
    gone = 0
    for one in voted:
        if one not in rows:
            continue
        line, place = rows[one]
        row = TYPES[part.kind](**json.loads(line))
        kept = part.withdrawn.filter_row(row)
        if kept is not row:
            del rows[one]
            gone += 1
        if kept is not None and kept is not row:
            # The id's first digits stay, so that the row stays in its range.
            kept = replace(kept, id=row.id[:4] + kept.id[4:])
            if kept.id not in part.withdrawn.ids:
                gone -= 1
                rows[kept.id.encode()] = (canonical_line(kept).encode(), place)
    return gone


def _number_vote(line: bytes, number: int) -> bytes:
    """Return the row of the second or a later equal vote, with an id and a person of its own.

    The id's first digits stay, so that the row stays in its range. The first vote is unchanged.
    """
    if number == 1:
        return line
    row = json.loads(line)
    row["id"] = row["id"][:4] + text_digest("vote", row["id"], number)[4:]
    if "annotator" in row:
        row["annotator"] = f"{row['annotator']}-{number}"
    else:
        row["annotators"] = [f"{name}-{number}" for name in row["annotators"]]
    return json_line(row).encode()


def numbered_vote(row: Record, number: int) -> Record:
    """Return the record of the vote with this number among equal votes."""
    line = _number_vote(canonical_line(row).encode("utf-8", "replace"), number)
    return TYPES[_KINDS[type(row)]](**json.loads(line))


def check_claims(part: KeyRange) -> None:
    """Raise UserError if two different rows of a source have the same `id` in the user's file."""
    claims: dict[bytes, tuple[bytes, bytes]] = {}
    for row, place in _read_range(part):
        before, there = claims.setdefault(row[ID], (row, place))
        if before != row:
            raise UserError(
                f"{json.loads(there)} and {json.loads(place)}: both have the id "
                f"{json.loads(row)['own']!r} but differ; give each row its own id"
            )


def _read_range(part: KeyRange) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a range from all runs with their places, in the order of sources and files."""
    for bounds in sorted((part.runs / part.kind).glob("*.bounds")):
        start, stop = (int(np.fromfile(bounds, "<i8", 1, offset=8 * n)[0]) for n in (part.first, part.stop))
        if start == stop:
            continue
        with bounds.with_suffix(".rows").open("rb") as file:
            file.seek(start)
            lines = file.read(stop - start).split(b"\n")
        yield from zip(lines[:-1:2], lines[1::2], strict=True)


def _shard_path(part: KeyRange, name: str) -> BinaryIO:
    path = shard_path(part.out / name / part.kind, part.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def shard_path(folder: Path, number: int) -> Path:
    """Return the path of a shard among those of its kind."""
    return folder / f"{number:05}.jsonl"


def join_shards(folder: Path, count: int) -> None:
    """Concatenate neighbouring shards of a folder until `count` remain, which divides their number."""
    found = list_shards(folder)
    each = len(found) // count
    if each == 1:
        return
    for number in range(count):
        first, *others = found[number * each : (number + 1) * each]
        # Appending to the first shard needs no second copy of it on the disk.
        with first.open("ab") as whole:
            for path in others:
                with path.open("rb") as file:
                    shutil.copyfileobj(file, whole, 1 << 20)
                path.unlink()
        first.replace(shard_path(folder, number))


def cut_files(files: Sequence[SourceFile], unit: str) -> list[tuple[SourceFile, ...]]:
    """Group the files of a source into parts of about RUN_BYTES that are parsed at once.

    Only files of a line format are cut. A format that reads a source as a whole gets one part.
    """
    if unit == "source":
        return [tuple(files)]
    pieces = [part for file in files for part in file.parts(RUN_BYTES)] if unit == "line" else list(files)
    groups: list[list[SourceFile]] = []
    filled = RUN_BYTES
    for piece in pieces:
        if filled >= RUN_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(piece)
        filled += _file_size(piece)
    return [tuple(group) for group in groups]


def _file_size(file: SourceFile) -> int:
    if file.stop is not None:
        return file.stop - file.start
    return (len(file.content) if file.path is None else file.path.stat().st_size) - file.start
