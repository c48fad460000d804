"""Checks of the databases that hold records, made before a program opens them and would create new ones."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from model.atomic_file import replace_text
from model.errors import UserError
from tasks.project.dry_run import may_write
from tasks.project.paths import (
    DATABASE_CHECKS,
    JUDGEMENTS_DATABASE,
    MLFLOW_DATABASE,
    MLFLOW_FOLDER,
    PREFECT_HOME,
    STORES,
)

HEADER = b"SQLite format 3\0"
LOCK_SECONDS = 20.0
# A check that takes longer is abandoned: it must not delay a run.
CHECK_SECONDS = 10.0
_TRANSACTION_SECONDS = 3.0
_OWN = "sqlite"
_JUDGEMENTS = "judgements"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ADVICE = (
    "put it back, or restore a backup with `chatmill restore BACKUP`; to start with an empty "
    f"registry, also move {STORES} and {MLFLOW_FOLDER} elsewhere"
)


def fault_in(path: Path, wait: float = LOCK_SECONDS) -> str:
    """Return what is wrong with a SQLite database, in words; empty if no fault was found.

    Args:
        path: The database.
        wait: Seconds to wait for its lock.

    Raises:
        UserError: Another process keeps the database locked, or this user may not open or repair it.
    """
    with path.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            return "it has no database header"
    deadline = time.monotonic() + wait + CHECK_SECONDS
    try:
        with closing(sqlite3.connect(database_address(path), uri=True, timeout=wait)) as store:
            # SQLite calls the handler every 10,000 instructions of its virtual machine; a true value
            # interrupts the query.
            store.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            [said] = store.execute("pragma quick_check(1)").fetchone()
            return "" if said == "ok" else f"SQLite says: {said.splitlines()[-1]}"
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return ""
        # "locking protocol": several processes opened the write-ahead log at once, and SQLite gave up.
        if "locked" in str(error) or "locking protocol" in str(error):
            raise UserError(
                f"{_display_path(path)} is locked by another process; end that process and run again"
            ) from error
        if "readonly" in str(error):
            raise UserError(
                f"a process was killed while writing {_display_path(path)}; run a command as a user "
                "with write access"
            ) from error
        if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
            raise UserError(
                f"{_display_path(path)} cannot be opened; make it accessible to your user"
            ) from error
        return f"SQLite says: {error}"
    except sqlite3.DatabaseError as error:
        return f"SQLite says: {error}"


def database_address(path: Path) -> str:
    """Return the address by which SQLite opens a database to read it, as a user who may write if possible."""
    # A process that was killed during a write left a journal. The first process that opens the database for
    # writing rolls the unfinished write back; with mode "ro" that would fail.
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return f"{path.absolute().as_uri()}?mode=rw" if writable and may_write() else read_only_address(path)


def read_only_address(path: Path) -> str:
    """Return the address by which SQLite opens a database and writes nothing, not even files beside it."""
    # Without a write-ahead log no process has the database open, and reading one in WAL mode would create it.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    return f"{path.absolute().as_uri()}?{mode}"


def check_mlflow_database(root: Path) -> None:
    """Check the project's own MLflow database; skip the check if the file is unchanged since it last passed.

    Raises:
        UserError: The database is damaged or locked, or it held records before and is empty or missing now.
    """
    path = root / MLFLOW_DATABASE
    if not path.exists() or not path.stat().st_size:
        # Projects of earlier versions have no list of stores, but they have files of runs.
        files = root / MLFLOW_FOLDER / "artifacts"
        if known_experiments(root / STORES, _OWN) or (files.is_dir() and any(files.iterdir())):
            state = "is empty" if path.exists() else "is missing"
            raise UserError(
                f"{MLFLOW_DATABASE}, which contained the model registry, its history and costs, {state}; "
                f"{_ADVICE}"
            )
        return
    if not may_write():
        _check_finished(path)
    stamp = _database_stamp(path)
    if _read_state(root / DATABASE_CHECKS).get(str(MLFLOW_DATABASE)) == stamp:
        return
    if fault := fault_in(path):
        raise UserError(
            f"{MLFLOW_DATABASE}, which contains the model registry, its history and costs, is "
            f"damaged ({fault}); {_ADVICE}"
        )
    with suppress(OSError):
        _write_state(root / DATABASE_CHECKS, {str(MLFLOW_DATABASE): stamp})


def check_judgements_database(root: Path) -> None:
    """Check the label page's SQLite file before it is opened.

    Raises:
        UserError: The file is damaged or locked, or it held judgements before and is empty or missing now.
    """
    path = root / JUDGEMENTS_DATABASE
    advice = "put it back, or restore a backup with `chatmill restore BACKUP`"
    if not path.exists() or not path.stat().st_size:
        if _JUDGEMENTS in _read_state(root / STORES):
            state = "is empty" if path.exists() else "is missing"
            raise UserError(
                f"{JUDGEMENTS_DATABASE}, which contained people's judgements, {state}; {advice}; to start "
                f"with an empty label page, remove {_JUDGEMENTS!r} from {STORES}"
            )
        return
    if fault := fault_in(path):
        raise UserError(
            f"{JUDGEMENTS_DATABASE}, which contains people's judgements, is damaged ({fault}); {advice}"
        )


def remember_judgements(root: Path) -> None:
    """Remember that the project has a label page's SQLite file, which must not vanish unnoticed."""
    found = _read_state(root / STORES)
    if _JUDGEMENTS not in found:
        _write_state(root / STORES, {**found, _JUDGEMENTS: str(JUDGEMENTS_DATABASE)})


def _check_finished(path: Path) -> None:
    """Raise UserError if a process was killed while writing a database: whoever opens it would repair it."""
    journal = path.with_name(f"{path.name}-journal")
    deadline = time.monotonic() + _TRANSACTION_SECONDS
    # A live process leaves the file for the moments of a transaction.
    while journal.exists() and journal.stat().st_size:
        if time.monotonic() > deadline:
            raise UserError(
                f"a process was killed while writing {_display_path(path)}, and a dry run repairs nothing; "
                "run `chatmill models`, which repairs it, then repeat the dry run"
            )
        time.sleep(0.1)


def replace_prefect_database(root: Path) -> str:
    """Rename a damaged Prefect database, so that the server creates a new one.

    Returns:
        A sentence about the replacement; empty if the database is sound.
    """
    path = root / PREFECT_HOME / "prefect.db"
    if not path.exists() or not path.stat().st_size:
        return ""
    try:
        fault = fault_in(path, wait=1.0)
    except UserError:
        # Another run's server has the database open, so it can be read.
        return ""
    if not fault:
        return ""
    damaged = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    # SQLite would apply a write-ahead log that was left behind to the new database.
    for suffix in ("", "-wal", "-shm"):
        if (old := path.with_name(path.name + suffix)).exists():
            old.replace(damaged.with_name(damaged.name + suffix))
    return (
        f"Prefect's database was damaged ({fault}); it is kept as {_display_path(damaged)}, and a "
        "new one was created. Prefect's pages no longer show past runs; repeat runs that waited for "
        "approval, and repeat `chatmill notify`"
    )


def store_key(uri: str, root: Path) -> str:
    """Return the key under which the experiments of an MLflow store are remembered.

    The project's own store has a fixed key; any other is known by its URL without the password. A server on
    this machine has no key: its port may belong to another project tomorrow.
    """
    if uri == f"sqlite:///{root / MLFLOW_DATABASE}":
        return _OWN
    where = urlsplit(uri)
    if where.scheme.startswith("http") and where.hostname in _LOOPBACK:
        return ""
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"


def known_experiments(record: Path, key: str) -> Mapping[str, str]:
    """Return the experiments that a store had: by name, each with its id and time of creation."""
    found = _read_state(record).get(key)
    return found if isinstance(found, dict) else {}


def check_experiment(record: Path, key: str, name: str, found: str) -> None:
    """Compare an experiment with the one that the store had before, and remember it.

    Args:
        record: The file with the experiments of each store.
        key: The store's key, from `store_key`; empty skips the comparison.
        name: The experiment's name.
        found: The experiment's id and time of creation; empty if the store has none of that name.

    Raises:
        UserError: The store had the experiment before, and now has none or another one.
    """
    if not key:
        return
    known = known_experiments(record, key)
    before = known.get(name, "")
    if before and before != found:
        where = str(MLFLOW_DATABASE) if key == _OWN else key
        what = "no longer has" if not found else "has another"
        raise UserError(
            f"MLflow's store {where} {what} experiment {name!r}: the store was emptied or replaced, "
            f"and lacks the model registry and its history; {_ADVICE}"
        )
    if found and not before:
        with suppress(OSError):
            _write_state(record, {**_read_state(record), key: {**known, name: found}})


def _database_stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_ino, state.st_size, state.st_mtime_ns]


def _read_state(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_state(path: Path, values: Mapping[str, Any]) -> None:
    if not may_write():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(values, indent=1))


def _display_path(path: Path) -> str:
    return os.path.relpath(path)
