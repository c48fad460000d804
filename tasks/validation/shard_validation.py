"""Validate one shard: check its rows one by one, then filter them by the results of all shards.

The two steps are separate because duplicates are only known once every shard was checked.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.common.names import shorten, source_rank
from tasks.data.records import json_line, parse_lines
from tasks.validation import contamination, exact_dedup, near_dedup, pii
from tasks.validation.corrected_rows import derive_again
from tasks.validation.expectations import (
    ACROSS,
    BrokenRule,
    Limits,
    Rules,
    check_across,
    check_table,
    column_texts,
    personal_columns,
)
from tasks.validation.quarantine import Release

EXAMPLES = 3
# A place in a file: its name, what is counted, and the number, as in `a.jsonl, line 9`.
_PLACE = re.compile(r"(.*?), \w+ (\d[\d,]*)")
_NUMBER = re.compile(r"\d[\d,]*")
_SHOWN = 60
SHOWN_FAULT = 240  # of the reason why a row cannot be read


@dataclass(frozen=True)
class ShardCheckTask:
    """A shard to check, with the rules.

    Attributes:
        kind: The kind of rows.
        number: The number of the shard.
        rows: The file with the rows.
        origins: The file with the place of each row; missing if the places are unknown.
        work: The folder for digests, by which rows are compared with those of other shards.
        limits: Limits of lengths and scores.
        scripts: The scripts that texts may use; empty allows all.
        personal: What is done with personal data: off, quarantine or mask.
        near: Whether near duplicates are searched for.
        own: The preset's further rules by kind.
        grams: The file with the hashes of the benchmarks' n-grams; None: there are no benchmarks.
        released: Releases by the id of their row.
        groups: The groups that others become, as of `join_links`.
    """

    kind: str
    number: int
    rows: Path
    origins: Path
    work: Path
    limits: Limits
    scripts: tuple[str, ...]
    personal: str
    near: bool
    own: Mapping[str, Sequence[Mapping[str, Any]]]
    grams: Path | None
    released: Mapping[str, Release]
    groups: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yield each row as its line and its values, after corrections by releases, in its linked group."""
        with self.rows.open("rb") as file:
            for line in file:
                (values,) = parse_lines([line], str(self.rows))
                release = self.released.get(str(values.get("id")))
                if release and release.row is not None:
                    # The row keeps the id of the source's row, so that the next run finds the release
                    # again. Releases of older versions of chatmill, or written by hand, kept the values
                    # that ingestion had derived from the former text.
                    values = {**derive_again(values, release.row), "id": values["id"]}
                    line = _row_line(values)
                if (group := self.groups.get(str(values.get("group")))) is not None:
                    values = {**values, "group": group}
                    line = _row_line(values)
                yield line, values


@dataclass(frozen=True)
class ShardCheckResult:
    """The rules that a shard's rows broke, its size, and the counts for the balance of its labels."""

    kind: str
    rows: int
    size: int
    failures: tuple[BrokenRule, ...]
    excused: frozenset[int]
    sources: Counter[str]
    shares: dict[str, Counter[str]] = field(default_factory=dict)


def check_shard(task: ShardCheckTask) -> ShardCheckResult:
    """Check a shard against the rules of single rows, and save digests of its rows for the other rules."""
    import pandas as pd

    table = [values for _, values in task.lines()]
    name = f"{task.number:05}.npy"
    places = list(enumerate(table))
    content = [exact_dedup.content_record(task.kind, row, task.number, place) for place, row in places]
    exact_dedup.save_records(task.work / "content" / task.kind / name, content)
    if task.kind == "ratings":
        ratings = [exact_dedup.rating_record(row, task.number, place) for place, row in places]
        exact_dedup.save_records(task.work / "whole" / task.kind / name, ratings)
    if task.kind in ("comparisons", "ratings"):
        choices = [
            found
            for place, row in places
            for found in exact_dedup.choice_records(task.kind, row, task.number, place)
        ]
        exact_dedup.save_records(task.work / "choices" / task.kind / name, choices)
    if task.near and task.kind == "text":
        _save_array(
            task.work / "signatures" / task.kind / name,
            near_dedup.sign_texts([str(row.get("text")) for row in table]),
        )
        ids = np.array([int(str(row["id"]), 16) for row in table], "<u8")
        _save_array(task.work / "ids" / task.kind / name, ids)
    # Memory-mapped: the processes that check shards share one copy of the benchmark's n-grams.
    grams = np.load(task.grams, mmap_mode="r") if task.grams else None
    rules = Rules(
        task.limits,
        task.scripts,
        task.personal == "quarantine",
        task.own,
        (lambda text: contamination.overlaps_benchmark(text, grams)) if grams is not None else None,
    )
    excused = {
        place
        for place, row in places
        # A row that was released as it is may break rules. A corrected row is checked like any other.
        if (release := task.released.get(str(row.get("id")))) and release.row is None and not row.get("fault")
    }
    failures = check_table(task.kind, pd.DataFrame(table), rules) if table else []
    return ShardCheckResult(
        task.kind,
        len(table),
        task.rows.stat().st_size,
        tuple(failures),
        frozenset(excused),
        Counter(str(row.get("source")) for row in table),
        _count_values(task.kind, table),
    )


def _count_values(kind: str, table: Sequence[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    table = [row for row in table if not row.get("fault")]
    if kind == "comparisons":
        return {name: Counter(str(row.get(name)) for row in table) for name in ("annotator", "choice")}
    if kind == "ratings":
        return {
            "annotator": Counter(str(annotator) for row in table for annotator in row.get("annotators") or ())
        }
    return {}


@dataclass(frozen=True)
class ShardFilterTask:
    """A shard with the results of its own check and its marks from the comparison with all shards.

    `sources` names the sources in the order of the preset.
    """

    looking: ShardCheckTask
    looked: ShardCheckResult
    marks: np.ndarray
    out: Path
    sources: tuple[str, ...] = ()


class FailedRow(NamedTuple):
    """A quarantined row for people, with its place in the order of the sources."""

    order: tuple[int, str, str, int, int]
    shown: str


def earliest_examples(examples: Iterable[FailedRow]) -> tuple[FailedRow, ...]:
    """Return the few examples that come first in the sources. Shards are in the order of ids."""
    return tuple(sorted(examples)[:EXAMPLES])


def source_order(where: str) -> tuple[str, int, int]:
    """Return a key that sorts places as a reader meets them: by file, then by line, item or row.

    `a.jsonl, line 9` comes before `a.jsonl, line 10`. A place without a number is the whole file.
    """
    found = _PLACE.match(where)
    if not found:
        return where, 0, 0
    inside = _NUMBER.search(where, found.end())
    return found[1], _as_number(found[2]), _as_number(inside[0]) if inside else 0


def _as_number(digits: str) -> int:
    return int(digits.replace(",", ""))


@dataclass(frozen=True)
class ShardFilterResult:
    """The number of rows kept, and counts of quarantined rows by source and rule, with examples."""

    kept: int
    broken: Counter[tuple[str, str]]
    examples: dict[str, tuple[FailedRow, ...]]


def filter_shard(task: ShardFilterTask) -> ShardFilterResult:
    """Write good rows to out/rows, and the others to out/quarantine with the first rule that each breaks."""
    looking, looked = task.looking, task.looked
    first = _first_rules(task)
    kept, broken = 0, Counter[tuple[str, str]]()
    examples: dict[str, tuple[FailedRow, ...]] = {}
    name = looking.rows.name
    folders = [task.out / folder / looking.kind for folder in ("rows", "quarantine")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with (folders[0] / name).open("wb") as good, (folders[1] / name).open("wb") as quarantined:
        for index, ((line, values), where) in enumerate(
            zip(looking.lines(), _row_origins(looking), strict=False)
        ):
            if index not in first or index in looked.excused:
                good.write(_mask_row(line, values, looking))
                kept += 1
                continue
            rule, column = first[index]
            value = values.get(column) if column else None
            quarantined.write(_row_line({**values, "rule": rule, "where": where, "value": value}))
            broken[str(values.get("source")), rule] += 1
            source = str(values.get("source"))
            known, order = examples.get(rule, ()), (*source_rank(source, task.sources), *source_order(where))
            if len(known) < EXAMPLES or order < known[-1].order:
                example = FailedRow(order, _failure_example(values, column, where))
                examples[rule] = earliest_examples((*known, example))
    return ShardFilterResult(kept, broken, examples)


def _first_rules(task: ShardFilterTask) -> dict[int, tuple[str, str]]:
    """Return the first rule that each broken row breaks and the column that broke it, by the row's place."""
    import pandas as pd

    failures = list(task.looked.failures)
    if len(task.marks):
        marks = pd.DataFrame({"place": range(task.looked.rows), **dict.fromkeys(ACROSS, False)})
        for number, rule in enumerate(ACROSS):
            marks.loc[task.marks["index"][task.marks["rule"] == number], rule] = True
        failures += check_across(task.looking.kind, marks)
    first: dict[int, tuple[str, str]] = {}
    for failure in failures:
        for place in failure.rows:
            first.setdefault(place, (failure.rule, failure.column))
    return first


def _row_origins(looking: ShardCheckTask) -> Iterator[str]:
    # The dry run of a pinned version has the rows of data/, and no origins.
    if not looking.origins.exists():
        while True:
            yield ""
    with looking.origins.open(encoding="utf-8") as file:
        for line in file:
            yield str(json.loads(line))


def _mask_row(line: bytes, values: dict[str, Any], looking: ShardCheckTask) -> bytes:
    if looking.personal != "mask":
        return line
    masked = {
        column: _mask_value(values[column])
        for column in personal_columns(looking.kind)
        if any(pii.find_pii(text) for text in column_texts(values.get(column)))
    }
    # The id stays, although it is a digest of the unmasked text, so that releases and withdrawals still
    # find the row.
    return _row_line({**values, **masked}) if masked else line


def _mask_value(value: Any) -> Any:
    if isinstance(value, str):
        return pii.mask_pii(value)
    return [
        {**part, "content": pii.mask_pii(str(part["content"]))}
        if isinstance(part, dict)
        else _mask_value(part)
        for part in value
    ]


def _failure_example(values: Mapping[str, Any], column: str, where: str) -> str:
    where = where or str(values.get("source"))
    if column == "fault":
        # The sentence of a fault may begin with the place, which the example already has.
        return f"{where}: {shorten(str(values['fault']).removeprefix(where).lstrip(',: '), SHOWN_FAULT)}"
    broke = values.get(column) if column else None
    shown = (
        broke if broke is not None else values.get("text") or values.get("completion") or values.get("prompt")
    )
    return f"{where}: {shorten(str(shown), _SHOWN)!r}"


def _row_line(values: Mapping[str, Any]) -> bytes:
    # Half a surrogate pair, as "\ud83d" in JSON, has no UTF-8 form.
    return (json_line(values) + "\n").encode("utf-8", "replace")


def _save_array(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
