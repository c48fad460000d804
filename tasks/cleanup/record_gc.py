"""Cleanup of what grows beside the outputs, such as logs and Prefect's old runs; and all sizes."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.cleanup.removal import Removal
from tasks.engine.output import GONE
from tasks.project.dry_run import may_write
from tasks.project.layout_migration import DUPLICATES
from tasks.project.owned_folder import leads_elsewhere
from tasks.project.paths import (
    BASE_MODELS,
    DATA_DOCS,
    JUDGEMENTS_DATABASE,
    LABELS,
    LOGS,
    MLFLOW_DATABASE,
    MLFLOW_FOLDER,
    PREFECT_HOME,
    RECORDS,
)

_PREFECT = PREFECT_HOME / "prefect.db"
DVC_CACHE = Path(".dvc") / "cache"
# DVC's names for files that it is writing. A live process writes to such a file at least once a day.
_TEMPORARY = re.compile(r"\..+\.tmp")
DAY = 86_400.0
OVER = "('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')"
RUNS = f"select id from flow_run where state_type in {OVER} and end_time < ?"
TASKS = f"select id from task_run where flow_run_id in ({RUNS})"
# Children before their parents, because the conditions look the parents up.
DELETIONS = (
    f"delete from log where flow_run_id in ({RUNS})",
    f"delete from artifact where flow_run_id in ({RUNS})",
    f"delete from task_run_state where task_run_id in ({TASKS})",
    f"delete from task_run where flow_run_id in ({RUNS})",
    f"delete from flow_run_state where flow_run_id in ({RUNS})",
    f"delete from flow_run_input where flow_run_id in ({RUNS})",
    f"delete from flow_run where state_type in {OVER} and end_time < ?",
    "delete from event_resources where event_id in (select id from events where occurred < ?)",
    "delete from events where occurred < ?",
)
# Paths that no cleanup removes, with the reason.
_KEPT = (
    (MLFLOW_DATABASE, "records: runs, the registry and its history"),
    (PREFECT_HOME, "Prefect's runs that are younger or not over, and its settings"),
    (JUDGEMENTS_DATABASE, "records: people's judgements"),
    (LABELS, "records: announced labels"),
    (LOGS, "younger logs"),
    (DATA_DOCS, "the pages of the last validation"),
    (DVC_CACHE, "DVC's data versions; `dvc gc` removes those without a commit"),
)


@dataclass(frozen=True)
class Remains:
    """Files or rows to remove: a description, their number and their size in bytes."""

    what: str
    count: int
    size: int
    paths: tuple[Path, ...] = ()
    before: str = ""


def find_remains(root: Path, age: float, now: float, prefect_idle: bool, busy: bool = False) -> list[Remains]:
    """Return what is older than `age` seconds and needed by nothing. Nothing is changed.

    Args:
        root: The project's folder.
        age: The age in seconds.
        now: The time in seconds since 1970.
        prefect_idle: Whether no process has Prefect's database open; its old runs stay otherwise.
        busy: Whether a run is alive; base models, which it may be reading, stay then.
    """
    logs = [
        path
        for path in ([] if leads_elsewhere(root, LOGS) else _record_files(root / LOGS))
        if path.suffix == ".log" and now - path.stat().st_mtime > age
    ]
    temporary = [
        path
        for path in _record_files(root / DVC_CACHE)
        if _TEMPORARY.fullmatch(path.name) and now - path.stat().st_mtime > max(age, DAY)
    ]
    found = [
        Remains(f"logs in {LOGS}", len(logs), size_of(logs), tuple(logs)),
        Remains(
            f"temporary files in {DVC_CACHE} of processes that were killed",
            len(temporary), size_of(temporary), tuple(temporary),
        ),
    ]  # fmt: skip
    if not busy and not leads_elsewhere(root, BASE_MODELS):
        # Whole conversions: without one of its files a model folder is damaged.
        models = [
            path for path in sorted((root / BASE_MODELS).glob("*"))
            if path.name.endswith(GONE) or now - path.lstat().st_mtime > max(age, DAY)
        ]  # fmt: skip
        size = sum(size_of([path, *path.rglob("*")]) for path in models)
        what = f"base models in {BASE_MODELS}, which are fetched or converted again when a run needs them"
        # Their checksums and locks go with them, or later where a gc was killed in between.
        count = sum(map(_is_entry, models)) or len(models)
        found.append(Remains(what, count, size, tuple(models)))
    if (root / DUPLICATES).is_dir() and not leads_elsewhere(root, DUPLICATES):
        files = list(_record_files(root / DUPLICATES))
        found.append(Remains(f"duplicates in {DUPLICATES}", len(files), size_of(files), (root / DUPLICATES,)))
    # A running server would write to the database meanwhile, and VACUUM needs it alone.
    if prefect_idle and (root / _PREFECT).exists():
        # Prefect's database compares times as text, in UTC and in this form.
        before = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now - age))
        if count := _count_runs(root, before):
            size = _size_of_runs(root, before)
            found.append(Remains("Prefect's runs with their logs and events", count, size, (), before))
    return [each for each in found if each.count]


def remove_remains(root: Path, found: Sequence[Remains], removal: Removal) -> list[Remains]:
    """Remove what `find_remains` returned; return what was removed, with the bytes that were freed."""
    removed = []
    for each in found:
        if each.before:
            removed.append(replace(each, size=_delete_runs(root, each.before)))
            continue
        files = {path: list(_record_files(path)) for path in each.paths}
        sizes = {path: size_of(files[path]) for path in each.paths}
        gone = [
            path for path in each.paths
            if (removal.delete_path if path == root / DUPLICATES else removal.delete_folder)(path)
        ]  # fmt: skip
        if gone:
            # The folder of duplicates is one path with many files; a model is one, with all its files.
            count = sum(len(files[path]) if path == root / DUPLICATES else _is_entry(path) for path in gone)
            size = sum(sizes[path] for path in gone)
            removed.append(replace(each, count=count or len(gone), size=size))
    return removed


def _is_entry(path: Path) -> bool:
    """Return whether a path is no file beside an entry, such as a base model's checksums."""
    return path.suffix not in (".sums", ".lock")


def kept_elsewhere(root: Path, copies: int = 0) -> list[tuple[str, int, str]]:
    """Return what lies outside the stages' outputs and stays: path, bytes and reason.

    Args:
        root: The project's folder.
        copies: Bytes in MLflow's folder that are listed separately from its records.
    """
    linked = [path for path in (LOGS, DUPLICATES) if leads_elsewhere(root, path)]
    found = [
        (str(path), size_of(_record_files(root / path)), why) for path, why in _KEPT if path not in linked
    ]
    reason = "a link out of the project folder; nothing is removed there"
    found += [(str(path), size_of(_record_files(root / path)), reason) for path in linked]
    records = size_of(_record_files(root / MLFLOW_FOLDER)) - copies
    found.append((str(MLFLOW_FOLDER), records, "records: manifests, presets, lineage, diffs and figures"))
    replaced = [path for path in sorted((root / RECORDS).glob("replaced-*")) if path.is_dir()]
    reason = "records replaced by `chatmill restore`: delete them once you no longer need them"
    found += [(str(path.relative_to(root)), size_of(_record_files(path)), reason) for path in replaced]
    return [each for each in found if each[1]]


def size_of(paths: Iterator[Path] | Sequence[Path]) -> int:
    """Return the size of files in bytes; a file that is gone by now counts as 0."""
    total = 0
    for path in paths:
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _record_files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        yield from (path for path in sorted(place.rglob("*")) if path.is_file() and not path.is_symlink())


def _count_runs(root: Path, before: str) -> int:
    try:
        with _open_prefect(root) as store:
            return int(store.execute(f"select count(*) from ({RUNS})", (before,)).fetchone()[0])
    except sqlite3.Error:
        return 0


@contextmanager
def _open_prefect(root: Path) -> Iterator[sqlite3.Connection]:
    """Open Prefect's database for reading; in a dry run a copy of it.

    SQLite writes beside a database with a write-ahead log even where it only reads.
    """
    path = (root / _PREFECT).absolute()
    with ExitStack() as opened:
        if not may_write():
            folder = Path(opened.enter_context(TemporaryDirectory()))
            for each in (path, path.with_name(f"{path.name}-wal")):
                if each.exists():
                    shutil.copyfile(each, folder / each.name)
            path = folder / path.name
        address = f"{path.as_uri()}?mode=ro"
        yield opened.enter_context(closing(sqlite3.connect(address, uri=True, timeout=5)))


def _delete_runs(root: Path, before: str) -> int:
    path = root / _PREFECT
    size = _database_size(path)
    with closing(sqlite3.connect(path, timeout=30)) as store:
        _prune_store(store, before)
    return max(0, size - _database_size(path))


def _size_of_runs(root: Path, before: str) -> int:
    """Return the bytes that deleting old runs frees, measured on a copy; 0 if there is no room for one."""
    path = root / _PREFECT
    with TemporaryDirectory() as folder, suppress(sqlite3.Error, OSError):
        copy = Path(folder) / path.name
        with _open_prefect(root) as store, closing(sqlite3.connect(copy)) as other:
            store.backup(other)
            _prune_store(other, before)
        return max(0, _database_size(path) - _database_size(copy))
    return 0


def _prune_store(store: sqlite3.Connection, before: str) -> None:
    with store:
        for statement in DELETIONS:
            store.execute(statement, (before,))
    with suppress(sqlite3.OperationalError):  # a disk without room for a copy: the rows are gone anyway
        # SQLite keeps the pages of deleted rows in the file until it is rewritten.
        store.execute("vacuum")
    # Without it, the log keeps the size of all the deleted rows.
    store.execute("pragma wal_checkpoint(truncate)")


def _database_size(path: Path) -> int:
    return size_of([path, path.with_name(f"{path.name}-wal")])
