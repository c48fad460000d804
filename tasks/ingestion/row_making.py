"""The canonical rows of all sources: parsed into sorted runs, and gathered by ranges of ids into shards."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.common.counts import counted
from tasks.data.external_sort import (
    CLAIMS,
    KeyRange,
    ParseTask,
    WithdrawnRow,
    check_claims,
    cut_files,
    gather_range,
    join_shards,
    key_ranges,
    shard_count,
    sort_part,
)
from tasks.data.file_io.decoding import EncodingError
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.file_io.tables import DELIMITERS
from tasks.data.formats.detect import choose_reading
from tasks.data.labels.rated_answers import RatedAnswers
from tasks.data.parsing.reader import no_rows
from tasks.data.questions.skip_counts import SkipCounts, compare_sources
from tasks.data.records import TYPES
from tasks.data.sources.source_reading import read_source, reading_of, without_ignored
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.withdrawals import NOTHING, WITHDRAWN, Withdrawn
from tasks.engine.parallel import ParallelMap, report_pace
from tasks.ingestion.repeated_labels import count_kept, drop_repeated_labels, label_of

_SHOWN = 3
SourceReader = Callable[[Source, DataParameters, Path, EventCallback], list[SourceFile]]


class Rows(NamedTuple):
    """Numbers of rows by kind: made, left out as withdrawn, left out as repeated, and unreadable.

    `repeats` counts equal rows, and one person's labels of the same answers that agree. `unreadable` counts
    those of the made rows that could not be read; validation quarantines them.
    """

    counts: dict[str, int]
    withdrawn: dict[str, int]
    repeats: dict[str, int]
    unreadable: dict[str, int]


def make_rows(
    parameters: DataParameters,
    root: Path,
    out: Path,
    on_event: EventCallback,
    parallel_map: ParallelMap,
    withdrawn: Withdrawn | None = None,
    read: SourceReader = read_source,
) -> Rows:
    """Write the shards of all sources to out/rows, each content once, kept for the first source that has it.

    First, every part of every source is parsed into sorted runs. Then each range of ids is gathered from all
    runs.

    Args:
        parameters: The sources.
        root: The project's folder.
        out: Gets `rows` and `origins`.
        on_event: The event callback.
        parallel_map: The map over parts and ranges.
        withdrawn: Rows to leave out.
        read: Returns the files of a source.

    Raises:
        UserError: A source has no row, or an `id` means two rows.
    """
    runs = out / "runs"
    withdrawn = withdrawn or NOTHING
    parts = list(plan_parsing(parameters, root, runs, on_event, withdrawn, read))
    parsed = _parse_parts(parts, len(parameters.sources), on_event, parallel_map)
    _ask_about_sources(parameters.sources, parts, parsed.tallies, on_event)
    if claimed := parsed.sizes[CLAIMS]:
        for _ in parallel_map(check_claims, key_ranges(CLAIMS, claimed, runs, out)):
            pass
    rejected = parsed.rejected | parsed.rated.rejected()
    # Ranges follow from the content's size alone, so the shards do not depend on the number of workers.
    ranges = [
        part
        for kind in TYPES
        for part in key_ranges(kind, parsed.sizes[kind], runs, out, rejected, withdrawn)
    ]
    gathered = _gather_ranges(ranges, on_event, parallel_map)
    # The runs are as large as the data, and are not part of the output.
    if runs.exists():  # not if all sources are label pages without judgements
        shutil.rmtree(runs)
    for kind in TYPES:
        # Repeated rows leave fewer rows, so fewer shards: how the parts were cut must not show in the output.
        for name in ("rows", "origins"):
            join_shards(out / name / kind, shard_count(gathered.written[kind]))
    again = drop_repeated_labels(out)
    # Counted as `withdraw` counts the rows of data/, which has each row once.
    kept = {kind: count_kept(rows, rejected) + gathered.votes[kind] for kind, rows in parsed.gone.items()}
    left_out = {kind: count for kind, count in kept.items() if count}
    if said := _left_out(left_out, Counter(kind for kind, _ in parsed.reduced)):
        on_event(Message(f"{said}, as {WITHDRAWN} withdraws them"))
    if any(gathered.refused.values()):
        refused = _counted(gathered.refused)
        on_event(Message(f"left out: {refused} that another row rejects, rates bad or deletes"))
    distinct = {
        kind: count + gathered.refused[kind] + gathered.votes[kind] for kind, count in gathered.counts.items()
    }
    repeats = {kind: count - distinct[kind] for kind, count in parsed.whole.items() if count > distinct[kind]}
    if repeats:
        on_event(Message(f"duplicates of earlier rows, kept once: {_counted(repeats)}"))
    if again:
        said = "repeated labels of the same answers by the same person, of which the newest or first is kept"
        on_event(Message(f"{said}: {_counted(again)}"))
    counts = {kind: count - again.get(kind, 0) for kind, count in gathered.counts.items()}
    for kind, count in again.items():
        repeats[kind] = repeats.get(kind, 0) + count
    return Rows(
        counts, left_out, repeats, {kind: count for kind, count in gathered.unreadable.items() if count}
    )


@dataclass
class _Parsed:
    """What the parsing of all parts found: sizes of the runs, tallies by source, and what is left out."""

    sizes: dict[str, int]
    tallies: list[SkipCounts]
    whole: dict[str, int]
    gone: dict[str, dict[str, WithdrawnRow]]
    reduced: set[tuple[str, str]]
    rejected: set[str]
    rated: RatedAnswers


def _parse_parts(
    parts: Sequence[ParseTask], sources: int, on_event: EventCallback, parallel_map: ParallelMap
) -> _Parsed:
    found = _Parsed(
        dict.fromkeys((*TYPES, CLAIMS), 0),
        [SkipCounts() for _ in range(sources)],
        dict.fromkeys(TYPES, 0),
        {kind: {} for kind in TYPES},
        set(),
        set(),
        RatedAnswers(),
    )
    parsed = parallel_map(sort_part, parts)
    for part in report_pace(parsed, len(parts), on_event, lambda part: (part.rows, sum(part.sizes.values()))):
        found.tallies[part.source_index].add(part.tally)
        found.reduced |= part.reduced
        found.rejected |= part.rejected
        found.rated.add(part.rated)
        for kind, size in part.sizes.items():
            found.sizes[kind] += size
        for kind, rows in part.gone.items():
            # The parts come in order, and the first of equal rows is the one that counts.
            found.gone[kind] |= {
                number: row for number, row in rows.items() if number not in found.gone[kind]
            }
        for kind, count in part.written.items():
            found.whole[kind] += count
    return found


def _ask_about_sources(
    sources: Sequence[Source],
    parts: Sequence[ParseTask],
    tallies: Sequence[SkipCounts],
    on_event: EventCallback,
) -> None:
    """Report what reading skipped. Raise UserError with the questions about all sources, if there are any."""
    compare_sources(tallies)
    for source, tally in zip(sources, tallies, strict=True):
        for line in tally.lines(source.fields):
            on_event(Message(f"source {source.name}: {line}"))
    questions: list[str] = []
    for number, (source, tally) in enumerate(zip(sources, tallies, strict=True)):
        try:
            tally.check(source.name, source.fields)
        except UserError as error:
            questions.append(str(error))
        # People may not have judged yet; the preset is right all the same.
        if not tally.rows and not source.labels and not tally.asks_for_choices(source.fields):
            names = [file.origin for part in parts if part.source_index == number for file in part.files]
            questions.append(no_rows(source.name, _name_origins(names), tally))
    # One error for all sources, so that the user can answer all questions before the next run.
    if questions:
        raise UserError("\n".join(questions))


@dataclass
class _Gathered:
    """Numbers by kind of the gathered rows: kept, in bytes, rejected, of withdrawn people, and unreadable."""

    counts: dict[str, int]
    written: dict[str, int]
    refused: dict[str, int]
    votes: dict[str, int]
    unreadable: dict[str, int]


def _gather_ranges(
    ranges: Sequence[KeyRange], on_event: EventCallback, parallel_map: ParallelMap
) -> _Gathered:
    found = _Gathered(*(dict.fromkeys(TYPES, 0) for _ in range(5)))
    gathered = parallel_map(gather_range, ranges)
    for shard in report_pace(gathered, len(ranges), on_event, lambda shard: (shard.rows, shard.size)):
        found.counts[shard.kind] += shard.rows
        found.written[shard.kind] += shard.size
        found.refused[shard.kind] += shard.rejected
        found.votes[shard.kind] += shard.withdrawn
        found.unreadable[shard.kind] += shard.unreadable
    return found


def _counted(rows: Mapping[str, int]) -> str:
    return ", ".join(counted(count, kind) for kind, count in rows.items() if count)


def _left_out(gone: Mapping[str, int], reduced: Mapping[str, int]) -> str:
    parts = [counted(count, kind) for kind, count in gone.items()]
    what = {"comparisons": "first judgements", "ratings": "scores"}
    parts += [f"{said} of {counted(reduced[kind], kind)}" for kind, said in what.items() if reduced.get(kind)]
    return f"left out: {', '.join(parts)}" if parts else ""


def plan_parsing(
    parameters: DataParameters,
    root: Path,
    runs: Path,
    on_event: EventCallback,
    withdrawn: Withdrawn,
    read: SourceReader = read_source,
) -> Iterator[ParseTask]:
    """Yield the parse tasks: every source's files, cut or combined to parts that one process reads."""
    for number, source in enumerate(parameters.sources):
        files = without_ignored(read(source, parameters, root, on_event), source)
        others = {file.origin: other for file in files if (other := file.other_delimiter())}
        files = [replace(file, delimiter=others.get(file.origin, "")) for file in files]
        for delimiter in sorted(set(others.values())):
            names = _name_origins([name for name, other in others.items() if other == delimiter])
            said = f"{names} read with {DELIMITERS[delimiter]} between columns"
            on_event(Message(f"source {source.name}: {said}, as all rows have it"))
        found, reading = choose_reading(files, source.name, source.format, reading_of(source, root))
        if marked := [file.origin for file in files if _is_utf16(file)]:
            text = f"source {source.name}: {_name_origins(marked)} read as UTF-16, as the mark in front says"
            on_event(Message(text))
        for part, group in enumerate(cut_files(files, found.unit)):
            asked = replace(source, strict=source.strict or parameters.strict)
            yield ParseTask(asked, number, part, group, found.name, reading, runs, withdrawn, label_of)


def _is_utf16(file: SourceFile) -> bool:
    try:
        return unpacked_suffix(file.origin) != ".parquet" and file.encoding() != "utf-8"
    except EncodingError:
        # The reader says what is wrong; of a document it is one row that cannot be read.
        return False


def _name_origins(origins: Sequence[str]) -> str:
    others = f" and {len(origins) - _SHOWN} more files" if len(origins) > _SHOWN else ""
    return f"{', '.join(origins[:_SHOWN])}{others}"
