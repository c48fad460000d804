"""The queue of the label page."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from model.errors import UserError
from tasks.labelling.batch_parameters import LabelBatchParameters
from tasks.labelling.batches import BatchSettings, add_batch
from tasks.labelling.queue import is_swapped, measure_progress, next_items
from tasks.labelling.schema import BATCH_TABLE, HOLD_TABLE, LabelStore
from tests.tasks.labelling.label_project import batch, items, judge, person


def test_next_items_gives_each_item_to_the_needed_number_of_people(store: LabelStore) -> None:
    batch(store, count=4, needed=2)
    people = [person(store, name) for name in ("Ada", "Bob", "Cleo")]
    seen: dict[int, list[str]] = {}
    while True:
        given = [(who, one) for who in people for one in next_items(store, who)]
        if not given:
            break
        for who, one in given:
            judge(store, who, one.item)
            seen.setdefault(one.item, []).append(who.name)
    assert sorted(seen) == [1, 2, 3, 4]
    assert all(len(names) == len(set(names)) == 2 for names in seen.values())


def test_next_items_of_people_at_once_never_gives_one_too_often(store: LabelStore) -> None:
    batch(store, count=6, needed=1)
    people = [person(store, f"person {chr(65 + n)}") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda who: next_items(store, who), people))
    assert sorted(one.item for items in found for one in items) == [1, 2, 3, 4, 5, 6]


def test_next_items_held_goes_on_there_and_returns_when_expired(store: LabelStore) -> None:
    batch(store, count=2, needed=1)
    ada, bob = person(store, "Ada"), person(store, "Bob")
    [mine] = next_items(store, ada)
    assert next_items(store, ada) == [mine]
    assert [one.item for one in next_items(store, bob, 2)] == [2]
    with store.write() as connection:
        connection.execute(update(HOLD_TABLE).where(HOLD_TABLE.c.person == "Ada").values(expires=1.0))
    assert {one.item for one in next_items(store, bob, 2)} == {1, 2}


def test_next_items_without_those_on_the_screen(store: LabelStore) -> None:
    batch(store, count=3)
    ada = person(store, "Ada")
    assert [one.item for one in next_items(store, ada, 1, without=[1, 2])] == [3]
    assert next_items(store, ada, 0) == []
    assert len(next_items(store, ada, 1000)) == 3


@pytest.mark.parametrize("older", [1, 2, 5])
def test_next_items_votes_come_before_older_batches(store: LabelStore, older: int) -> None:
    batch(store, count=older, needed=1)
    ada, bob = person(store, "Ada"), person(store, "Bob")
    [begun] = next_items(store, ada)
    vote = items(2, start=100)
    add_batch(store, BatchSettings("vote on demo/2", needed=1, origin={"kind": "vote"}), vote)
    assert [one.prompt for one in next_items(store, bob, 3)][:2] == [item.prompt for item in vote]
    # What a person has on the screen stays there.
    assert next_items(store, ada) == [begun]


def test_next_items_skipped_is_for_others(store: LabelStore) -> None:
    batch(store, count=1, needed=1)
    ada, bob = person(store, "Ada"), person(store, "Bob")
    judge(store, ada, next_items(store, ada)[0].item, action="skip")
    assert next_items(store, ada) == []
    assert next_items(store, bob)[0].item == 1


def test_next_items_hides_models_and_turns_answers_by_person(store: LabelStore) -> None:
    batch(store, count=1)
    names = [f"person {chr(65 + n)}" for n in range(20)]
    shown = [next_items(store, person(store, name)) for name in names[:2]]
    for one in (given[0] for given in shown):
        assert (one.left, one.right) == (
            ("Other 0.", "Answer 0.") if one.swapped else ("Answer 0.", "Other 0.")
        )
    turned = [is_swapped(name, f"digest {n}") for name in names for n in range(50)]
    assert 400 < sum(turned) < 600


def test_measure_progress_counts_what_is_done_and_left(store: LabelStore) -> None:
    batch(store, count=4)
    ada = person(store, "Ada")
    judge(store, ada, 1)
    judge(store, ada, 2, action="skip")
    judge(store, ada, 3)
    judge(store, ada, 3, action="undo")
    progress = measure_progress(store, ada, "2")
    assert (progress.judged, progress.skipped, progress.left, progress.today) == (1, 1, 2, 1)
    assert measure_progress(store, ada, "2999-01-01").today == 0


@pytest.mark.parametrize("needed", [1001, 2_000_000_000, 99_999_999_999_999_999_999])
def test_add_batch_too_many_people_is_refused(store: LabelStore, needed: int) -> None:
    with pytest.raises(UserError, match="from 1 to 1000"):
        batch(store, needed=needed)
    with pytest.raises(ValueError, match="from 1 to 1000"):
        LabelBatchParameters(needed=needed)


def test_next_items_batch_of_many_people_is_found_at_once(store: LabelStore) -> None:
    batch(store, count=4, needed=1000)
    # A store of an earlier version may have a batch that needs any number.
    with store.write() as connection:
        connection.execute(update(BATCH_TABLE).values(needed=2_000_000_000))
    ada, bob = person(store, "Ada"), person(store, "Bob")
    judge(store, ada, 3)
    started = time.monotonic()
    # Begun items come before new ones.
    assert [one.item for one in next_items(store, bob, 4)] == [3, 1, 2, 4]
    for number in (1, 2, 4):
        judge(store, ada, number)
    assert next_items(store, ada, 4) == []
    assert time.monotonic() - started < 5
