"""Checks of the databases that hold records, before a program that would make a new one opens them."""

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

from model.errors import UserError
from tasks.project.paths import DATABASE_CHECKS, MLFLOW_DATABASE, MLFLOW_FOLDER, PREFECT_HOME, STORES
from tasks.project.whole_file import write_whole

HEADER = b"SQLite format 3\0"
LOCK_SECONDS = 20.0
# A check that takes longer is given up: it is no reason to keep a run waiting.
CHECK_SECONDS = 10.0
_OWN = "sqlite"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ADVICE = (
    "put it back, or `chatmill restore BACKUP` brings a backup's records back; to begin with an empty "
    f"registry instead, move {STORES} and {MLFLOW_FOLDER} elsewhere as well"
)


def fault_in(path: Path, wait: float = LOCK_SECONDS) -> str:
    """Return what is wrong with a SQLite database, in words; empty where nothing was found.

    Raises:
        UserError: another process holds its lock and does not give it back.
    """
    with path.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            return "it does not begin as a database does"
    deadline = time.monotonic() + wait + CHECK_SECONDS
    # A process that was killed while it wrote left a journal; the first that opens the database for writing
    # takes the unfinished write back.
    mode = "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=wait)) as store:
            store.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            [said] = store.execute("pragma quick_check(1)").fetchone()
            return "" if said == "ok" else f"SQLite says: {said.splitlines()[-1]}"
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return ""
        if "locked" in str(error):
            raise UserError(
                f"{_display_path(path)} is locked by another process; end that process and run again"
            ) from error
        if "readonly" in str(error):
            raise UserError(
                f"a process was killed while it wrote {_display_path(path)}; run a command as a "
                f"user who may write "
                "there"
            ) from error
        if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
            raise UserError(
                f"{_display_path(path)} cannot be opened; make it accessible to your user"
            ) from error
        return f"SQLite says: {error}"
    except sqlite3.DatabaseError as error:
        return f"SQLite says: {error}"


def check_mlflow_database(root: Path) -> None:
    """Check the project's own MLflow database; one that was found whole is checked again when it changed.

    Raises:
        UserError: it is damaged or locked, or it was there before and is empty or missing.
    """
    path = root / MLFLOW_DATABASE
    if not path.exists() or not path.stat().st_size:
        # Projects of before there was a list of stores have files of runs.
        files = root / MLFLOW_FOLDER / "artifacts"
        if known_experiments(root / STORES, _OWN) or (files.is_dir() and any(files.iterdir())):
            state = "is empty" if path.exists() else "is missing"
            raise UserError(
                f"{MLFLOW_DATABASE}, which held the registry of models, their history and costs, {state}; "
                f"{_ADVICE}"
            )
        return
    stamp = _database_stamp(path)
    if _read_state(root / DATABASE_CHECKS).get(str(MLFLOW_DATABASE)) == stamp:
        return
    if fault := fault_in(path):
        raise UserError(
            f"{MLFLOW_DATABASE}, which holds the registry of models, their history and costs, is damaged "
            f"({fault}); {_ADVICE}"
        )
    with suppress(OSError):
        _write_state(root / DATABASE_CHECKS, {str(MLFLOW_DATABASE): stamp})


def replace_prefect_database(root: Path) -> str:
    """Move a damaged database of Prefect's aside, so that its server makes a new one; a sentence about it."""
    path = root / PREFECT_HOME / "prefect.db"
    if not path.exists() or not path.stat().st_size:
        return ""
    try:
        fault = fault_in(path, wait=1.0)
    except UserError:
        # Another run's server has it open, which tells that it can be read.
        return ""
    if not fault:
        return ""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        if (old := path.with_name(path.name + suffix)).exists():
            old.replace(aside.with_name(aside.name + suffix))
    return (
        f"Prefect's database was damaged ({fault}); it is kept as {_display_path(aside)} and a "
        f"new one is made. "
        "Past runs are missing on Prefect's pages; run again what waited for a person's approval, and "
        "`chatmill notify` again where messages are sent"
    )


def store_key(uri: str, root: Path) -> str:
    """Return what a store is known by: one word for the project's own, else its address without a password.

    A server on this machine is known by nothing: its port may be another project's tomorrow.
    """
    if uri == f"sqlite:///{root / MLFLOW_DATABASE}":
        return _OWN
    where = urlsplit(uri)
    if where.scheme.startswith("http") and where.hostname in _LOOPBACK:
        return ""
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"


def known_experiments(record: Path, key: str) -> Mapping[str, str]:
    """Return the experiments that a store had, by name, each with its id and time of creation."""
    found = _read_state(record).get(key)
    return found if isinstance(found, dict) else {}


def check_experiment(record: Path, key: str, name: str, found: str) -> None:
    """Hold an experiment against what the store had, and remember it.

    `found` is the experiment's id and time of creation, empty where the store has none of that name.

    Raises:
        UserError: the store had the experiment, and has none or another one now.
    """
    if not key:
        return
    known = known_experiments(record, key)
    before = known.get(name, "")
    if before and before != found:
        where = str(MLFLOW_DATABASE) if key == _OWN else key
        what = "no longer has" if not found else "has another"
        raise UserError(
            f"MLflow's store {where} {what} experiment {name!r}: it was emptied or replaced, and the "
            f"registry of models with its history is not in it; {_ADVICE}"
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
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(values, indent=1))


def _display_path(path: Path) -> str:
    return os.path.relpath(path)
