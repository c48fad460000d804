"""Dry runs of all commands: the whole project is the same before and after, in bytes, modes and times."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.smoke import REPOSITORY
from tests.integration.clones import chatmill, chatmill_each
from tests.snapshot import snapshot

COMMANDS = (
    ("gc", "--dry-run"),
    ("gc", "--dry-run", "--older-than", "0h", "--max-size", "1MB"),
    ("gc", "--dry-run", "--withdrawn", "--config", "configs/mine.yaml"),
    ("ingest", "--dry-run", "--config", "configs/mine.yaml"),
    ("run", "--dry-run", "--config", "configs/mine.yaml"),
    ("run", "--dry-run", "--config", "configs/mine.yaml", "--set", "tracking.experiment=other"),
    ("withdraw", "--annotator", "person-1", "--dry-run"),
    ("config", "migrate", "configs/mine.yaml", "--dry-run"),
)
# A program that is killed while it has the database open leaves the log and its index beside it.
KILLED = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("pragma journal_mode=wal")
store.execute("create table left_over (id integer)")
store.commit()
os._exit(0)
"""


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has ingested the rows of the smoke preset."""
    root = tmp_path_factory.mktemp("ingested")
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "exports" / "smoke", root / "texts")
    (root / "configs").mkdir()
    preset = (REPOSITORY / "configs" / "smoke.yaml").read_text()
    preset = preset.replace("tests/fixtures/exports/smoke/", "texts/")
    (root / "configs" / "mine.yaml").write_text(preset)
    chatmill(root, "ingest", "--config", "configs/mine.yaml")
    return root


def open_to_others_with_write_ahead_log(root: Path) -> None:
    (root / "var").chmod(0o755)
    for name in ("database_checks.json", "digests.json"):
        (root / "var" / "cache" / name).unlink(missing_ok=True)
    database = root / "var" / "prefect" / "prefect.db"
    subprocess.run([sys.executable, "-c", KILLED, str(database)], check=True)
    assert database.with_name("prefect.db-wal").stat().st_size
    # As after a copy of the project without it.
    database.with_name("prefect.db-shm").unlink()


def remove_prefect(root: Path) -> None:
    shutil.rmtree(root / "var" / "prefect")
    (root / "var" / "mlflow" / "lock").unlink()


def remove_mlflow(root: Path) -> None:
    shutil.rmtree(root / "var" / "mlflow")
    for name in ("mlflow.db", "stores.json", "cache/artifacts"):
        path = root / "var" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


STATES: tuple[Callable[[Path], None], ...] = (
    open_to_others_with_write_ahead_log, remove_prefect, remove_mlflow
)  # fmt: skip


@pytest.mark.parametrize("change", STATES, ids=lambda change: str(change.__name__))
def test_dry_run_of_every_command_writes_nothing(
    ingested: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    root = tmp_path / "project"
    shutil.copytree(ingested, root, symlinks=True)
    change(root)
    before = snapshot(root)
    said = chatmill_each(root, *COMMANDS)
    now = snapshot(root)
    assert sorted(now) == sorted(before)
    assert [name for name in before if now[name] != before[name]] == []
    assert "Nothing was written" in said[3] and "would be removed" in said[6]
