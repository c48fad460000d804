"""A look at the sources before anything is written: formats, rows, and what would be set aside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import UserError
from tasks import hub
from tasks.fetch import DOWNLOADS, Broken, ask, fetched
from tasks.formats import File
from tasks.formats.look import find
from tasks.records import TYPES, Record
from tasks.repeats import among
from tasks.rules import ACROSS, Failure, Rules, check
from tasks.sources import DataParameters, Source, check_annotators, read_source, reading_of
from tasks.withdrawal import read_withdrawn

LOOKED = 2000  # rows of a type that are held against the rules
FIRST = 3
KINDS = {found: kind for kind, found in TYPES.items()}


@dataclass(frozen=True)
class Aside:
    """Rows of one type that break a rule, among the first LOOKED: how many, and where the first is."""

    kind: str
    rule: str
    count: int
    where: str


@dataclass(frozen=True)
class Preview:
    """What a source holds. `rows` counts all of them by type, `looked` those held against the rules.

    `withdrawn` counts those that would be left out as withdrawn. `lacking` says what would be fetched; `part`
    that only the first rows of a data set were read; `fault` is the sentence that ingestion would stop with.
    """

    name: str
    format: str = ""
    files: int = 0
    bytes: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)
    first: tuple[Record, ...] = ()
    aside: tuple[Aside, ...] = ()
    lacking: tuple[str, ...] = ()
    part: str = ""
    fault: str = ""
    withdrawn: int = 0


def preview(source: Source, parameters: DataParameters, rules: Rules, root: Path) -> Preview:
    """Read a source to its end and write nothing; what is not here yet is named, not fetched.

    Rules of rows are held against the first LOOKED rows of each type, repeats among these included; counts
    are of all rows, and the same content in two rows counts twice. What is near or in a benchmark is not
    looked for.
    """
    found = Preview(source.name)
    try:
        lacking = tuple(_lacking(source, parameters, root))
        if lacking:
            return dataclasses.replace(found, lacking=lacking)
        files, part = _files(source, parameters, root)
        found = dataclasses.replace(found, files=len(files), bytes=sum(map(_size, files)), part=part)
        format = find(files, source.name, source.format)
        found = dataclasses.replace(found, format=format.name)
        rows = dict.fromkeys(TYPES, 0)
        withdrawn, left_out = read_withdrawn(root), 0
        kept: dict[str, list[tuple[Record, str]]] = {kind: [] for kind in TYPES}
        first: list[Record] = []
        for one in format.parse(files, reading_of(source, root)):
            row = withdrawn.left(one.row)
            left_out += row is not one.row
            if row is None:
                continue
            one = one._replace(row=row)
            check_annotators(source, one)
            kind = KINDS[type(one.row)]
            rows[kind] += 1
            if len(kept[kind]) < LOOKED:
                kept[kind].append((one.row, one.where))
            if len(first) < FIRST:
                first.append(one.row)
        if not first and not left_out:
            raise UserError(f"source {source.name}: no rows in {files[0].origin}")
    except UserError as error:
        return dataclasses.replace(found, fault=str(error))
    looked = {kind: len(held) for kind, held in kept.items()}
    aside = tuple(broken for kind, held in kept.items() if held for broken in _aside(kind, held, rules))
    return dataclasses.replace(
        found, rows=rows, looked=looked, first=tuple(first), aside=aside, withdrawn=left_out
    )


def _aside(kind: str, held: list[tuple[Record, str]], rules: Rules) -> Iterator[Aside]:
    """Each row under the first rule that it breaks, as validation sets it aside."""
    import pandas as pd

    rows_held = [dataclasses.asdict(row) for row, _ in held]
    failures = check(kind, pd.DataFrame(rows_held), rules)
    marks = among(kind, rows_held)
    failures += [
        Failure(rule, tuple(sorted(marks["place"][marks["rule"] == number].tolist())))
        for number, rule in enumerate(ACROSS)
    ]
    seen: set[int] = set()
    for failure in failures:
        if rows := [place for place in failure.rows if place not in seen]:
            seen.update(rows)
            yield Aside(kind, failure.rule, len(rows), held[rows[0]][1])


def _files(source: Source, parameters: DataParameters, root: Path) -> tuple[list[File], str]:
    if source.dataset and (root / source.dataset).is_dir():
        file, rows = hub.head(source.wanted, root, LOOKED)
        return [file], f"the first {LOOKED} of {rows} rows" if rows > LOOKED else ""
    if source.urls:
        # Whether a server has a newer one is asked by ingestion, which would fetch it.
        return [File(a.shown, path=fetched(a, root)) for a in source.addresses], ""
    return read_source(source, parameters, root, lambda event: None), ""


def _lacking(source: Source, parameters: DataParameters, root: Path) -> Iterator[str]:
    """What ingestion would fetch, with its size where the server says it."""
    if source.archive:
        archive = parameters.archives[source.archive]
        if not (root / DOWNLOADS / archive.file).exists():
            yield f"{archive.package} ({archive.file})"
    for given in source.addresses:
        if fetched(given, root) is None:
            try:
                size = ask(given).size
            except Broken as error:
                raise UserError(f"{given.shown} cannot be fetched ({error})") from error
            yield given.shown + (f" ({size} bytes)" if size is not None else "")
    if source.dataset and not hub.is_saved(source.wanted, root):
        yield f"the data set {source.wanted.shown} at revision {source.revision or '(none is given)'}"


def _size(file: File) -> int:
    return file.path.stat().st_size if file.path else len(file.content)
