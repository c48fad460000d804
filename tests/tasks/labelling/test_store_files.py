"""A database whose file goes while it is open: nothing is said to be stored that is on no disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tasks.labelling.judgements import Judgement, add_judgements, newest_judgements
from tasks.labelling.queue import next_items
from tasks.labelling.schema import LabelStore, open_label_store
from tasks.labelling.store_files import StoreUnavailableError
from tasks.project.paths import JUDGEMENTS_DATABASE
from tests.tasks.labelling.label_project import batch, judge, person

FILES = ("judgements.db", "judgements.db-wal", "judgements.db-shm")


def remove_all(var: Path) -> None:
    for name in FILES:
        (var / name).unlink()


def rename_folder(var: Path) -> None:
    var.rename(var.with_name("elsewhere"))


def replace_by_copy(var: Path) -> None:
    shutil.copy(var / FILES[0], var / "copy.db")
    (var / "copy.db").replace(var / FILES[0])


def remove_log(var: Path) -> None:
    (var / FILES[1]).unlink()


def remove_index(var: Path) -> None:
    (var / FILES[2]).unlink()


def empty(var: Path) -> None:
    (var / FILES[0]).write_bytes(b"")


def leave_empty_file(var: Path) -> None:
    remove_all(var)
    (var / FILES[0]).touch()


def overwrite_with_earlier_copy(var: Path) -> None:
    earlier = (var / "earlier.db").read_bytes()
    assert earlier != (var / FILES[0]).read_bytes()
    with (var / FILES[0]).open("r+b") as file:
        file.write(earlier)
        file.truncate()


def overwrite_with_other_store(var: Path) -> None:
    other = var.parent / "other"
    other.mkdir()
    with open_label_store(other) as store:
        # More commits than the page's own store.
        batch(store, count=50)
        bob = person(store, "Bob")
        for number in range(1, 41):
            judge(store, bob, number)
    shutil.copyfile(other / JUDGEMENTS_DATABASE, var / FILES[0])


def overwrite_with_text(var: Path) -> None:
    with (var / FILES[0]).open("r+b") as file:
        file.write(b"not a database. " * 8)


def checkpoint(path: Path) -> None:
    """Write the log into the file, as SQLite does after some commits."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


@pytest.mark.parametrize(
    "damage", [overwrite_with_earlier_copy, overwrite_with_other_store, overwrite_with_text]
)
def test_add_judgements_file_overwritten_in_place_is_refused(
    store: LabelStore, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    batch(store)
    ada, database = person(store, "Ada"), tmp_path / JUDGEMENTS_DATABASE
    checkpoint(database)
    shutil.copyfile(database, tmp_path / "var" / "earlier.db")
    judge(store, ada, 1)
    checkpoint(database)
    judge(store, ada, 2)
    assert store.find_fault() == ""
    before = os.stat(database).st_ino
    damage(tmp_path / "var")
    assert os.stat(database).st_ino == before
    assert "was overwritten by another file" in store.find_fault()
    with pytest.raises(StoreUnavailableError, match="was overwritten by another file"):
        judge(store, ada, 3)


def test_add_judgements_file_overwritten_with_its_own_bytes_loses_nothing(
    store: LabelStore, tmp_path: Path
) -> None:
    batch(store)
    ada, database = person(store, "Ada"), tmp_path / JUDGEMENTS_DATABASE
    judge(store, ada, 1)
    database.write_bytes(database.read_bytes())
    judge(store, ada, 2)
    assert store.find_fault() == ""
    store.close()
    with open_label_store(tmp_path) as again:
        assert [row["item"] for row in newest_judgements(again)] == [1, 2]


@pytest.mark.parametrize(
    "damage",
    [remove_all, rename_folder, replace_by_copy, remove_log, remove_index, empty, leave_empty_file],
)
def test_add_judgements_file_gone_while_open_is_refused(
    store: LabelStore, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    batch(store)
    ada = person(store, "Ada")
    judge(store, ada, 1)
    assert store.find_fault() == ""
    damage(tmp_path / "var")
    assert "nothing is stored" in store.find_fault()
    for write in (lambda: judge(store, ada, 2), lambda: next_items(store, ada), lambda: person(store, "Bob")):
        with pytest.raises(StoreUnavailableError, match=str(JUDGEMENTS_DATABASE)):
            write()


def test_add_judgements_file_gone_during_the_transaction_is_refused(
    store: LabelStore, tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailableError, match="is missing"), store.write():
        remove_all(tmp_path / "var")


def test_add_judgements_file_put_back_are_stored_once(store: LabelStore, tmp_path: Path) -> None:
    batch(store)
    ada = person(store, "Ada")
    said = Judgement("k1", 1, choice="a")
    var, aside = tmp_path / "var", tmp_path / "aside"
    aside.mkdir()
    for name in FILES:
        (var / name).rename(aside / name)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            add_judgements(store, ada, [said])
    # No connection may have made a new file meanwhile.
    assert not list(var.glob("judgements.db*"))
    for name in FILES:
        (aside / name).rename(var / name)
    assert add_judgements(store, ada, [said]) == ["k1"]
    store.close()
    beside = open_label_store(tmp_path)
    assert [row["key"] for row in newest_judgements(beside)] == ["k1"]
    beside.close()


def test_label_store_opened_twice_and_idle_stays_usable(tmp_path: Path) -> None:
    first = open_label_store(tmp_path)
    batch(first, count=6)
    ada = person(first, "Ada")
    for number in range(1, 7):
        # Another process opens and closes the same files all the time.
        beside = open_label_store(tmp_path)
        judge(first, ada, number)
        judge(beside, person(beside, f"Bob {number}"), number)
        beside.close()
    assert first.find_fault() == ""
    assert len(list(newest_judgements(first))) == 12
    first.close()
