"""Test that a damaged, empty or missing database is refused and never replaced silently."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.project.database_check import (
    check_mlflow_database,
    fault_in,
    known_experiments,
    replace_prefect_database,
)
from tasks.project.paths import STORES
from tasks.tracking.tracker import Tracker


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    open_tracker(root)
    return (root / "var" / "mlflow.db").read_bytes(), (root / STORES).read_text()


def open_tracker(root):
    check_mlflow_database(root)
    return Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow")


@pytest.fixture
def root(tmp_path, made):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(made[0])
    (tmp_path / STORES).write_text(made[1])
    return tmp_path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda whole: b"", "is empty"),
        (lambda whole: None, "is missing"),
        (lambda whole: whole[: len(whole) // 2], "damaged"),
        (lambda whole: whole[:5000], "damaged"),
        (lambda whole: bytes(4096) + whole[4096:], "damaged"),
        (lambda whole: whole[: 4096 * 9] + bytes(4096) + whole[4096 * 10 :], "damaged"),
        (lambda whole: b"not a database at all", "damaged"),
    ],
)
def test_check_mlflow_database_damaged_store_is_refused(root, change, says):
    path = root / "var" / "mlflow.db"
    changed = change(path.read_bytes())
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed)
    for _ in range(2):
        with pytest.raises(UserError, match=says) as found:
            open_tracker(root)
        assert "chatmill restore" in str(found.value)
    assert (path.read_bytes() if path.exists() else None) == changed


def test_check_mlflow_database_replaced_store_is_refused(root, tmp_path_factory, made):
    path = root / "var" / "mlflow.db"
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("delete from experiments where name = 'chatmill'")
    with pytest.raises(UserError, match="no longer has experiment 'chatmill'"):
        open_tracker(root)
    # MLflow keeps connections, so this uses a folder that was not opened before.
    other = tmp_path_factory.mktemp("other")
    (other / "var").mkdir()
    (other / STORES).write_text((root / STORES).read_text())
    (other / "var" / "mlflow.db").write_bytes(made[0])
    with closing(sqlite3.connect(other / "var" / "mlflow.db")) as store, store:
        store.execute("update experiments set creation_time = creation_time + 1000")
    with pytest.raises(UserError, match="has another experiment"):
        open_tracker(other)


def test_check_mlflow_database_sound_store_opens_again(root, tmp_path_factory):
    first = open_tracker(root).experiment
    assert open_tracker(root).experiment == first
    (root / STORES).unlink()
    assert open_tracker(root).experiment == first and (root / STORES).exists()
    assert open_tracker(tmp_path_factory.mktemp("new")).experiment


def test_fault_in_locked_database_says_locked(root):
    path = root / "var" / "mlflow.db"
    with closing(sqlite3.connect(path)) as store:
        store.execute("pragma locking_mode = exclusive")
        store.execute("begin exclusive")
        with pytest.raises(UserError, match="is locked by another process"):
            fault_in(path, wait=0.2)
    assert fault_in(path) == ""


@pytest.mark.parametrize("keeps", [3000, 30_000, 0])
def test_replace_prefect_database_damaged_one_is_moved_aside(tmp_path, keeps):
    home = tmp_path / "var" / "prefect"
    home.mkdir(parents=True)
    with closing(sqlite3.connect(home / "prefect.db")) as store, store:
        store.execute("create table t (a text)")
        store.executemany("insert into t values (?)", [("x" * 100,)] * 1000)
    assert replace_prefect_database(tmp_path) == ""
    os.truncate(home / "prefect.db", keeps)
    said = replace_prefect_database(tmp_path)
    assert bool(said) == bool(keeps) and len(list(home.glob("prefect.db.damaged-*"))) == bool(keeps)
    assert (home / "prefect.db").exists() == (not keeps)


def test_check_mlflow_database_run_files_reveal_missing_store(tmp_path):
    (tmp_path / "var" / "mlflow" / "artifacts" / "1").mkdir(parents=True)
    with pytest.raises(UserError, match="is missing"):
        open_tracker(tmp_path)


KILLED = """
import os, signal, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("pragma cache_size=1")
store.execute("begin immediate")
store.executemany("insert into records values (?)", [("x" * 3000,)] * 300)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_fault_in_killed_writer_leaves_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as store:
        store.execute("create table records (text)")
        store.execute("insert into records values ('kept')")
        store.commit()
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert path.with_name("mlflow.db-journal").stat().st_size
    assert fault_in(path) == ""
    with closing(sqlite3.connect(path)) as store:
        assert store.execute("select count(*) from records").fetchone() == (1,)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "7" * 4_400, "null", "[1]", "\x00", '{"a"'])
def test_known_experiments_damaged_file_counts_as_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "stores.json").write_text(content)
    assert known_experiments(tmp_path / "stores.json", "sqlite") == {}
