"""Compare two versions of the data in a memory that does not grow with them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from model.errors import UserError
from tasks.data.records import TYPES, naming_row
from tasks.data.versions.version_history import WORKING, version_log
from tasks.dvc import remote, versions
from tasks.project import data_folder

_NAMED = 5  # versions that a message lists

_SHOWN = 200


class Count(NamedTuple):
    """The number of rows of one kind and source that were added, changed or removed."""

    kind: str
    source: str
    added: int
    changed: int
    gone: int


class ChangedRow(NamedTuple):
    """A row that differs: its text before and now, empty if it did not exist."""

    kind: str
    source: str
    before: str
    now: str


@dataclass(frozen=True)
class VersionDifference:
    """The counts by kind and source, and the first examples of each kind of change."""

    counts: list[Count]
    examples: list[ChangedRow]


@dataclass(frozen=True)
class Side:
    """One of the two versions: the hashes of its files by path in `data/`, and their places on disk."""

    name: str
    files: dict[str, str]
    place: Callable[[str], Path]

    def shards(self, kind: str, without: set[str]) -> list[tuple[str, str]]:
        """Return the path and the hash of a kind's shards in order, except those with the given hashes."""
        ours = (f"{kind}/", f"{kind}.jsonl")
        return [
            (path, self.files[path])
            for path in sorted(self.files)
            if path.startswith(ours) and self.files[path] not in without
        ]


def compare_versions(root: Path, before: str, now: str, rows: int = 0) -> VersionDifference:
    """Return the difference between two versions.

    A row is *added* or *gone* if its id is on one side only; ids are digests of content. It is *changed* if
    the id stayed and other values did not, such as source, group, references and time. A row that replaced
    another is *changed* too: of n rows gone and m added in one kind, source and group, min(n, m) are changed.
    A group is what a split keeps together (the passage, the prompt, the review), so a corrected answer is a
    change. A corrected document is its own group unless another is given, so it counts as one row gone and
    one added.

    Files that both versions share are not read. Files that are not on this machine are fetched into DVC's
    cache. `data/` stays as it is.

    Args:
        root: The project's folder.
        before: The hash of a version, or "working" for `data/` as it is.
        now: The other version.
        rows: The number of examples of each kind of change.

    Raises:
        UserError: A version cannot be found.
    """

    if WORKING in (before, now) and not data_folder.check_place(root).is_dir():
        raise UserError(f"{root / 'data'} does not exist; create it with `chatmill ingest`")

    def action() -> tuple[Side, Side]:
        with versions.open_repository(root) as repo:
            sides = side_of(repo, root, before), side_of(repo, root, now)
            shared = _shared_shards(*sides)
            for side in sides:
                # data/ is on this machine by definition.
                if side.name != WORKING:
                    bring_files(
                        repo, side, [found for kind in TYPES for _, found in side.shards(kind, shared)]
                    )
            return sides

    first, second = remote.retry_action(action, "the DVC remote")
    shared = _shared_shards(first, second)
    with closing(sqlite3.connect("")) as store:  # a temporary file, deleted when it is closed
        # Some builds of SQLite keep temporary databases in memory.
        store.execute("PRAGMA temp_store = FILE")
        store.execute("CREATE TABLE loose (kind, source, grp, side, id, says)")
        store.execute("CREATE TABLE matched (kind, source, id, before, now)")  # NULL: the row did not exist
        for kind in TYPES:
            parts = _ordered_lines(first, kind, shared), _ordered_lines(second, kind, shared)
            for old, new in _merge_sorted(*parts):
                _record_change(store, kind, old, new, rows > 0)
        _match_groups(store)
        return VersionDifference(_count_changes(store), _example_rows(store, rows) if rows else [])


def _shared_shards(first: Side, second: Side) -> set[str]:
    return set(first.files.values()) & set(second.files.values())


def side_of(repo: Any, root: Path, version: str) -> Side:
    """Return a version's files. Raise UserError if the version cannot be found."""
    if version == WORKING:
        return Side(WORKING, versions.folder_listing(root), lambda path: root / "data" / path)
    store = repo.cache.local
    files = remote.version_listing(store, version)
    if files is None:
        # The listing alone: files that both versions share are never fetched.
        remote.copy_data_version(_fetch_remote_version(repo, version), store, [version])
        files = remote.version_listing(store, version)
    if files is None:
        raise UserError(_explain_absent(version))
    return Side(version, files, lambda path: Path(store.oid_to_path(files[path])))


def bring_files(repo: Any, side: Side, hashes: list[str]) -> None:
    """Fetch files of a version into DVC's cache. Raise UserError if they cannot be found."""
    store = repo.cache.local
    # Damaged objects of the cache are fetched again.
    if not remote.damaged_hashes(store, hashes):
        return
    if not remote.copy_data_version(_fetch_remote_version(repo, side.name), store, hashes):
        raise UserError(_explain_absent(side.name))


def _fetch_remote_version(repo: Any, version: str) -> Any:
    if not repo.config["core"].get("remote"):
        raise UserError(
            f"version {_shorten_hash(version)} is not in DVC's cache on this machine, and no remote "
            "is set; give the preset with its data.remote: `chatmill data diff --config ...`. "
            f"{_describe_here(repo, version)}"
        )
    return remote.open_remote(repo)


def _describe_here(repo: Any, lacking: str) -> str:
    """Return what to do where no remote has a version, with the versions whose files are here."""
    store = repo.cache.local
    known = dict.fromkeys(one.hash for one in version_log(Path(repo.root_dir)))
    here = [one for one in known if one != lacking and remote.version_listing(store, one) is not None]
    said = (
        "A version that only git's history of data.dvc names was never made on this machine: ingestion of "
        "its sources makes it"
    )
    if not here:
        return f"{said}. No other version is here (`chatmill data log` lists all)"
    named = ", ".join(map(_shorten_hash, here[:_NAMED])) + (", …" if len(here) > _NAMED else "")
    example = f"`chatmill data diff {_shorten_hash(here[min(1, len(here) - 1)])}`"
    return f"{said}. Here are {named} (`chatmill data log` lists all); compare one with data/: {example}"


def _explain_absent(version: str) -> str:
    return (
        f"version {_shorten_hash(version)} is incomplete in DVC's cache on this machine and at "
        "the remote; send it with `dvc push` from a machine that has it"
    )


def _shorten_hash(version: str) -> str:
    return version[:12]


class Line(NamedTuple):
    """A row of a shard: its id and its canonical line."""

    id: str
    text: str


def _ordered_lines(side: Side, kind: str, shared: set[str]) -> Iterator[Line]:
    """Yield the rows of a kind in order of ids. Raise UserError if they are not in order."""
    last = ""
    for path, _ in side.shards(kind, shared):
        place = side.place(path)
        with (
            naming_row(place, f"data/{path} of {side.name}"),
            place.open(encoding="utf-8", newline="\n") as file,
        ):
            for number, text in enumerate(file, 1):
                found = _line_id(text, f"data/{path} of {side.name}, line {number}")
                # The merge compares neighbours only, so rows out of order would be reported as added and
                # removed.
                if found < last:
                    raise UserError(
                        f"data/{path} of {side.name}, line {number}: id {found} follows {last}, but "
                        "rows must be sorted by id; `chatmill ingest` rebuilds data/"
                    )
                last = found
                yield Line(found, text)


def _line_id(line: str, where: str) -> str:
    # Canonical lines begin with the id. Parsing whole lines would take most of the time.
    if line.startswith('{"id":"'):
        return line[7 : line.index('"', 7)]
    try:
        return str(json.loads(line)["id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{where}: not a row; `chatmill ingest` rebuilds data/") from error


def _merge_sorted(first: Iterator[Line], second: Iterator[Line]) -> Iterator[tuple[Line | None, Line | None]]:
    """Yield the differences of two sorted sequences, with rows of equal ids side by side."""
    old, new = next(first, None), next(second, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.id < new.id):
            yield old, None
            old = next(first, None)
        elif old is None or new.id < old.id:
            yield None, new
            new = next(second, None)
        else:
            if old.text != new.text:
                yield old, new
            old, new = next(first, None), next(second, None)


def _record_change(
    store: sqlite3.Connection, kind: str, old: Line | None, new: Line | None, shown: bool
) -> None:
    was, is_now = (_parse_row(line, kind) if line else {} for line in (old, new))
    if old and new:
        texts = (_describe_row(was), _describe_row(is_now)) if shown else ("", "")
        store.execute("INSERT INTO matched VALUES (?, ?, ?, ?, ?)", (kind, is_now["source"], new.id, *texts))
        return
    row, side = (was, "gone") if old else (is_now, "added")
    values = (kind, row["source"], row["group"], side, row["id"], _describe_row(row) if shown else "")
    store.execute("INSERT INTO loose VALUES (?, ?, ?, ?, ?, ?)", values)


def _parse_row(line: Line, kind: str) -> dict[str, Any]:
    try:
        row = TYPES[kind](**json.loads(line.text))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"data/{kind}: the row {line.id} is broken; `chatmill ingest` recomputes it"
        ) from error
    return vars(row)


def _describe_row(row: dict[str, Any]) -> str:
    """Return a row's content in a short text; for a label with what was judged."""
    if "text" in row:
        said = row["text"]
    elif "choice" in row:
        said = f"{row['prompt']} → {row['choice']} of a: {row['a']} | b: {row['b']} ({row['annotator']})"
    else:
        scores = f" ({', '.join(f'{score:g}' for score in row['scores'])})" if "scores" in row else ""
        said = f"{row['prompt']} → {row['completion']}{scores}"
    return " ".join(f"{said} [{row['source']}]".split())[:_SHOWN]


def _match_groups(store: sqlite3.Connection) -> None:
    """Match removed and added rows of one group with each other, in order of ids."""
    store.execute("""
        INSERT INTO matched
        SELECT kind, source, MAX(id), MAX(CASE side WHEN 'gone' THEN says END),
               MAX(CASE side WHEN 'added' THEN says END)
        FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY kind, source, grp, side ORDER BY id) AS place
              FROM loose)
        GROUP BY kind, source, grp, place
    """)


def _count_changes(store: sqlite3.Connection) -> list[Count]:
    found = store.execute("""
        SELECT kind, source, SUM(before IS NULL), SUM(before IS NOT NULL AND now IS NOT NULL),
               SUM(now IS NULL)
        FROM matched GROUP BY kind, source ORDER BY source
    """)
    order = list(TYPES)
    return sorted((Count(*row) for row in found), key=lambda count: order.index(count.kind))


def _example_rows(store: sqlite3.Connection, rows: int) -> list[ChangedRow]:
    """Return the first `rows` examples by id of added, changed and removed rows of each kind."""
    query = """
        SELECT kind, source, COALESCE(before, ''), COALESCE(now, '') FROM matched
        WHERE kind = ? AND (before IS NOT NULL) = ? AND (now IS NOT NULL) = ? ORDER BY id LIMIT ?
    """
    return [
        ChangedRow(*row)
        for kind in TYPES
        for was, is_now in ((0, 1), (1, 1), (1, 0))
        for row in store.execute(query, (kind, was, is_now, rows))
    ]
