"""Both servers on a real PostgreSQL, and errors of a wrong address."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.servers.database import make_databases, read_database
from flows.servers.environment import checkout_environment, configure_database, prepare_environment
from model.errors import UserError
from tasks.labelling.batches import list_batches
from tasks.labelling.page_rows import page_rows
from tasks.labelling.queue import measure_progress, next_items
from tasks.labelling.review import next_review
from tasks.labelling.schema import open_label_store, read_label_store
from tasks.project.paths import JUDGEMENTS_DATABASE, LABEL_STORE
from tests.benchmarks.postgres import PASSWORD, REPOSITORY, crowd, postgresql, programs
from tests.tasks.labelling.label_project import batch, judge, person

TASKS = 50
wanted = pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (Debian's postgresql)")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with postgresql() as found:
        yield found


@wanted
@pytest.mark.long
def test_postgresql_many_concurrent_tasks_lose_no_state(tmp_path: Path, address: str) -> None:
    found = crowd(tmp_path, address, TASKS)
    assert found["total"] == sum(range(TASKS))
    # The temporary Prefect server of a run requires the set password too.
    assert found["stranger"] == 401
    assert found["prefect"] == {"COMPLETED": TASKS} and found["mlflow"] == {"FINISHED": TASKS}
    assert found["metrics"] == {"number": found["total"]}
    assert not list((tmp_path / "var").rglob("*.db"))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any(PASSWORD.encode() in path.read_bytes() for path in written)

    # Every command reads this database.
    environment = {**checkout_environment(REPOSITORY), "CHATMILL_DATABASE": address}
    words = [sys.executable, "-m", "flows.cli.main", "models"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "No model is registered yet" in done.stdout


@wanted
@pytest.mark.usefixtures("restored_environment")
def test_prepare_environment_makes_both_databases_once(tmp_path: Path, address: str) -> None:
    for name in ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    os.environ["CHATMILL_DATABASE"] = address.replace("/mill", "/other")
    for _ in range(2):
        settings = prepare_environment(tmp_path)
        assert settings.mlflow.endswith("/other_mlflow") and PASSWORD not in settings.mlflow
    prefect = os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert prefect.startswith("postgresql+asyncpg://") and prefect.endswith("/other_prefect")
    assert PASSWORD not in prefect


@wanted
@pytest.mark.usefixtures("restored_environment")
def test_label_store_in_postgresql_keeps_every_judgement(tmp_path: Path, address: str) -> None:
    os.environ["CHATMILL_DATABASE"] = address.replace("/mill", "/pages")
    configure_database(tmp_path)
    stores = [open_label_store(tmp_path) for _ in range(3)]
    batch(stores[0], count=12, needed=1)
    people = [person(stores[0], name) for name in ("Ada", "Bob", "Cleo")]

    def work(number: int) -> list[int]:
        done = []
        while items := next_items(stores[number], people[number]):
            judge(stores[number], people[number], items[0].item)
            done.append(items[0].item)
        return done

    with ThreadPoolExecutor(3) as pool:
        done = [item for items in pool.map(work, range(3)) for item in items]
    assert sorted(done) == list(range(1, 13))
    [found] = list_batches(stores[0])
    assert (found.items, found.complete) == (12, 12)
    assert sum(measure_progress(stores[0], one, "2").judged for one in people) == 12
    assert next_review(stores[0], people[0]) is None
    reader = read_label_store(tmp_path)
    assert reader is not None and len(page_rows(reader).rows) == 12
    for store in (*stores, reader):
        store.close()
    assert not (tmp_path / JUDGEMENTS_DATABASE).exists()
    assert PASSWORD not in (tmp_path / LABEL_STORE).read_text()
    # The setting is gone: a new and empty file would hide the judgements.
    del os.environ["PGPASSWORD"]
    with pytest.raises(UserError, match="CHATMILL_DATABASE"):
        open_label_store(tmp_path)


@wanted
@pytest.mark.usefixtures("restored_environment")
def test_label_store_in_a_file_stays_there(tmp_path: Path, address: str) -> None:
    open_label_store(tmp_path).close()
    os.environ["CHATMILL_DATABASE"] = address
    configure_database(tmp_path)
    assert not (tmp_path / LABEL_STORE).exists()
    open_label_store(tmp_path).close()


def test_label_store_damaged_address_is_refused(tmp_path: Path) -> None:
    (tmp_path / LABEL_STORE).parent.mkdir()
    (tmp_path / LABEL_STORE).write_text("{")
    for opens in (open_label_store, read_label_store):
        with pytest.raises(UserError, match="restore a backup"):
            opens(tmp_path)


@wanted
def test_make_databases_wrong_password_is_refused_without_it(address: str) -> None:
    database = read_database(address.replace(PASSWORD, "guessed"))
    with pytest.raises(UserError, match="password authentication failed") as failed:
        make_databases(database)
    assert "guessed" not in str(failed.value) and "\n" not in str(failed.value)


def test_make_databases_unreachable_server_is_named() -> None:
    with pytest.raises(UserError, match=r"PostgreSQL at 127\.0\.0\.1:9 \(CHATMILL_DATABASE\)"):
        make_databases(read_database("postgresql://someone:secret@127.0.0.1:9/mill"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mysql://someone:secret@host/mill", "begins with mysql"),
        ("postgresql://host/mill", "lacks a user"),
        ("postgresql://someone:secret@host", "lacks a user, a host or a name"),
        ("postgresql://someone:secret@host:port/mill", "is not an address"),
    ],
)
def test_read_database_invalid_address_is_refused_with_example(given: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as failed:
        read_database(given)
    assert "secret" not in str(failed.value) and "expected postgresql://" in str(failed.value)
