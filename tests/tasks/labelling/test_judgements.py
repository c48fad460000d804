"""Judgements: added once, never changed, and counted as each person's newest says."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from model.errors import UserError
from tasks.labelling.batches import change_guide, list_batches
from tasks.labelling.judgements import Judgement, add_judgements, newest_judgements
from tasks.labelling.people import add_person, find_person
from tasks.labelling.queue import next_items
from tasks.labelling.schema import JUDGEMENT_TABLE, LabelStore, open_label_store, read_label_store
from tasks.project.paths import JUDGEMENTS_DATABASE
from tests.tasks.labelling.label_project import batch, judge, person


def count_rows(store: LabelStore) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(JUDGEMENT_TABLE)).scalar_one()


def test_add_judgements_sent_twice_is_stored_once(store: LabelStore) -> None:
    batch(store)
    ada, bob = person(store, "Ada"), person(store, "Bob")
    said = Judgement("k1", 1, choice="a")
    assert add_judgements(store, ada, [said]) == ["k1"]
    assert add_judgements(store, ada, [said, said]) == ["k1", "k1"]
    assert count_rows(store) == 1
    # The browser would drop a judgement that it believes stored.
    with pytest.raises(UserError, match="another judgement"):
        add_judgements(store, ada, [Judgement("k1", 1, choice="b")])
    with pytest.raises(UserError, match="another judgement"):
        add_judgements(store, bob, [said])


def test_add_judgements_changed_keeps_the_former_row(store: LabelStore) -> None:
    batch(store)
    ada = person(store, "Ada")
    judge(store, ada, 1, "a")
    judge(store, ada, 1, "tie", comment="on second thought")
    assert [row["choice"] for row in newest_judgements(store)] == ["tie"]
    assert count_rows(store) == 2


def test_add_judgements_undone_gives_the_item_back(store: LabelStore) -> None:
    batch(store, needed=1)
    ada = person(store, "Ada")
    judge(store, ada, 1, "a")
    assert next_items(store, ada)[0].item == 2
    judge(store, ada, 1, action="undo")
    assert list(newest_judgements(store)) == []
    assert {one.item for one in next_items(store, ada, 2)} == {1, 2}
    judge(store, ada, 1, "b")
    assert [row["choice"] for row in newest_judgements(store)] == ["b"]
    assert count_rows(store) == 3


def test_add_judgements_keep_the_guide_that_was_shown(store: LabelStore) -> None:
    batch(store)
    ada = person(store, "Ada")
    name, shown = list_batches(store)[0].name, list_batches(store)[0].guide
    after = change_guide(store, name, "Another guide.")
    judge(store, ada, 1, guide=shown)
    judge(store, ada, 2)
    assert [row["guide"] for row in newest_judgements(store)] == [shown, after]
    with pytest.raises(UserError, match="no guide"):
        judge(store, ada, 3, guide="0123456789abcdef")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"choice": "left"}, "choice"),
        ({"choice": ""}, "choice"),
        ({"choice": "a", "action": "delete"}, "action"),
        ({"choice": "a", "action": "skip"}, "choice"),
        ({"choice": "a", "steps": {"helpfulness": 6}}, "1 to 5"),
        ({"choice": "a", "steps": {"helpfulness": True}}, "1 to 5"),
        ({"choice": "a", "steps": {"tone": 3}}, "not judged on"),
        ({"choice": "a", "key": ""}, "key"),
        ({"choice": "a", "key": "x" * 65}, "key"),
        ({"choice": "a", "item": 99}, "no item 99"),
        ({"choice": "a", "seconds": float("nan")}, "seconds"),
        ({"choice": "a", "comment": "x" * 100_001}, "comment"),
        ({"choice": "a", "review": True}, "not a reviewer"),
    ],
)
def test_add_judgements_invalid_value_stores_nothing(
    store: LabelStore, values: dict[str, object], message: str
) -> None:
    batch(store, aspects=("helpfulness",))
    ada = person(store, "Ada")
    good = Judgement("good", 2, choice="b")
    with pytest.raises(UserError, match=message):
        add_judgements(store, ada, [good, Judgement(**{"key": "k", "item": 1, **values})])  # type: ignore[arg-type]
    assert count_rows(store) == 0


def test_read_label_store_writes_nothing_and_sees_what_is_stored(tmp_path: Path) -> None:
    assert read_label_store(tmp_path) is None
    store = open_label_store(tmp_path)
    batch(store)
    judge(store, person(store, "Ada"), 1)
    beside = read_label_store(tmp_path)
    assert beside is not None
    assert len(list(newest_judgements(beside))) == 1
    beside.close()
    store.close()
    before = {path: path.read_bytes() for path in (tmp_path / "var").iterdir()}
    alone = read_label_store(tmp_path)
    assert alone is not None
    assert len(list(newest_judgements(alone))) == 1
    with pytest.raises(OperationalError):
        add_person(alone, "Bob")
    alone.close()
    assert {path: path.read_bytes() for path in (tmp_path / "var").iterdir()} == before


@pytest.mark.parametrize("content", [None, b"", b"no database at all"])
@pytest.mark.parametrize("opens", [open_label_store, read_label_store])
def test_label_store_vanished_or_damaged_is_refused(
    tmp_path: Path, content: bytes | None, opens: Callable[[Path], object]
) -> None:
    open_label_store(tmp_path).close()
    (tmp_path / JUDGEMENTS_DATABASE).unlink()
    if content is not None:
        (tmp_path / JUDGEMENTS_DATABASE).write_bytes(content)
    with pytest.raises(UserError, match="restore a backup"):
        opens(tmp_path)


def _press_keys(folder: str, name: str, count: int) -> None:
    store = open_label_store(Path(folder))
    who = find_person(store, name)
    assert who is not None
    for number in range(count):
        add_judgements(store, who, [Judgement(f"{name}-{number}", number + 1, choice="a")])
    store.close()


def test_add_judgements_of_processes_at_once_are_all_stored(tmp_path: Path) -> None:
    store = open_label_store(tmp_path)
    batch(store, count=20, needed=3)
    names = ["Ada", "Bob", "Cleo"]
    for name in names:
        add_person(store, name)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_press_keys, args=(str(tmp_path), name, 20)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert count_rows(store) == 60
    store.close()
    with closing(sqlite3.connect(tmp_path / JUDGEMENTS_DATABASE)) as connection:
        assert connection.execute("SELECT DISTINCT given FROM items").fetchall() == [(3,)]
