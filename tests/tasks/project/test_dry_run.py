"""Test that nothing is written in a dry run: what would be repaired or moved is named."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from flows.common.project_folder import secure_records
from model.errors import UserError
from tasks.backup.restore import INTENTION, finish_restore
from tasks.cleanup.record_gc import find_remains
from tasks.project.database_check import check_experiment, check_mlflow_database
from tasks.project.database_templates import PREFECT, copy_template
from tasks.project.dry_run import forbid_writes
from tasks.project.layout_migration import move_to_cache
from tests.snapshot import snapshot

# Programs that are killed while they write to a database.
IN_TRANSACTION = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("pragma cache_size=1")
store.execute("begin")
store.execute("create table left_over (id integer, text text)")
store.executemany("insert into left_over values (?, ?)", [(n, "x" * 900) for n in range(900)])
os._exit(0)
"""
IN_LOG = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("pragma journal_mode=wal")
store.execute("insert into flow_run (name, flow_id, state_type, end_time, run_count, total_run_time)"
    " values ('a', 'f', 'COMPLETED', '2020-01-01 00:00:00', 1, 0)")
store.commit()
os._exit(0)
"""


@pytest.mark.parametrize("name", ["artifacts", "downloads", "environments"])
def test_move_to_cache_dry_run_moves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "var" / name).mkdir(parents=True)
    before = snapshot(tmp_path)
    with forbid_writes(), pytest.raises(UserError, match=rf"var/{name} is where.* run `chatmill models`"):
        move_to_cache(tmp_path)
    assert snapshot(tmp_path) == before
    assert move_to_cache(tmp_path) == [name]


@pytest.mark.parametrize("known", [False, True])
def test_check_mlflow_database_dry_run_repairs_nothing(tmp_path: Path, known: bool) -> None:
    database = tmp_path / "var" / "mlflow.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as store:
        store.execute("create table one (a)")
        store.commit()
    if known:
        check_mlflow_database(tmp_path)
    subprocess.run([sys.executable, "-c", IN_TRANSACTION, str(database)], check=True)
    before = snapshot(tmp_path)
    with forbid_writes(), pytest.raises(UserError, match=r"killed while writing .*run `chatmill models`"):
        check_mlflow_database(tmp_path)
    assert snapshot(tmp_path) == before
    check_mlflow_database(tmp_path)
    with forbid_writes():
        check_mlflow_database(tmp_path)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_secure_records_dry_run_keeps_mode(tmp_path: Path, mode: int) -> None:
    (tmp_path / "var" / "prefect").mkdir(parents=True)
    (tmp_path / "var").chmod(mode)
    before = snapshot(tmp_path)
    with forbid_writes():
        secure_records(tmp_path)
        check_experiment(tmp_path / "var" / "stores.json", "sqlite", "mine", "1 2026")
    assert snapshot(tmp_path) == before


def test_finish_restore_dry_run_completes_nothing(tmp_path: Path) -> None:
    (tmp_path / "var" / "part").mkdir(parents=True)
    (tmp_path / INTENTION).write_text(json.dumps({"new": "part", "old": "replaced-1"}))
    before = snapshot(tmp_path)
    with forbid_writes(), pytest.raises(UserError, match="`chatmill restore` was interrupted"):
        finish_restore(tmp_path)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("beside", ["prefect.db-shm", "prefect.db-wal", ""])
def test_find_remains_dry_run_reads_write_ahead_log_and_writes_nothing(tmp_path: Path, beside: str) -> None:
    home = tmp_path / "var" / "prefect"
    home.mkdir(parents=True)
    database = home / "prefect.db"
    copy_template(PREFECT, database)
    with closing(sqlite3.connect(database)) as store:
        store.execute("insert into flow (id, name) values ('f', 'f')")
        store.commit()
    subprocess.run([sys.executable, "-c", IN_LOG, str(database)], check=True)
    assert os.path.getsize(home / "prefect.db-wal")
    if beside:
        (home / beside).unlink()
    before = snapshot(tmp_path)
    with forbid_writes():
        found = find_remains(tmp_path, 86_400.0, time.time(), True)
    assert snapshot(tmp_path) == before
    # The run is only in the log.
    assert sum(each.count for each in found) == (0 if beside == "prefect.db-wal" else 1)
