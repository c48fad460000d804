"""The databases that new projects start with."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from mlflow import MlflowClient

from tasks.project.database_templates import MLFLOW, PREFECT, copy_template, make_template, template_path

MIGRATIONS = {
    PREFECT: ("prefect", "server/database/_migrations"),
    MLFLOW: ("mlflow", "store/db_migrations"),
}
# The tables with rows: MLflow has one workspace and one experiment from the start.
ROWS = {PREFECT: set(), MLFLOW: {"workspaces", "experiments"}}


def newest_revisions(program: str) -> set[str]:
    package, folder = MIGRATIONS[program]
    scripts = Path(str(find_spec(package).origin)).parent / folder
    # Prefect has one branch of migrations for each kind of database.
    versions = scripts / "versions" / "sqlite" if program == PREFECT else scripts / "versions"
    return set(ScriptDirectory(str(scripts), version_locations=[str(versions)]).get_heads())


@pytest.mark.parametrize("program", [PREFECT, MLFLOW])
def test_copy_template_database_is_of_newest_version_and_without_records(
    tmp_path: Path, program: str
) -> None:
    make_template(program)
    copy_template(program, tmp_path / "new.db")
    with closing(sqlite3.connect(tmp_path / "new.db")) as store:
        tables = {name for (name,) in store.execute("select name from sqlite_master where type = 'table'")}
        filled = {name for name in tables if store.execute(f'select 1 from "{name}" limit 1').fetchone()}
        assert {one for (one,) in store.execute("select * from alembic_version")} == newest_revisions(program)
    assert filled == {"alembic_version"} | ROWS[program]
    assert [one.name for one in tmp_path.iterdir()] == ["new.db"]


def test_copy_template_existing_database_stays(tmp_path: Path) -> None:
    make_template(MLFLOW)
    (tmp_path / "old.db").write_bytes(b"records")
    copy_template(MLFLOW, tmp_path / "old.db")
    assert (tmp_path / "old.db").read_bytes() == b"records"


def test_copy_template_without_template_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    copy_template(MLFLOW, tmp_path / "new.db")
    assert list(tmp_path.iterdir()) == []


def test_make_template_is_made_in_environment_by_programs_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    # A project's setting must not lead to the project's database.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'project.db'}")
    make_template(MLFLOW)
    assert list(template_path(MLFLOW).parent.iterdir()) == [template_path(MLFLOW)]
    copy_template(MLFLOW, tmp_path / "new.db")
    experiments = MlflowClient(f"sqlite:///{tmp_path / 'new.db'}").search_experiments()
    assert [one.name for one in experiments] == ["Default"]
    assert not (tmp_path / "project.db").exists()
