"""Judgements of another tool in the label page's store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.label_exchange.batch_items import ExchangedBatch, read_exchanged_batches
from tasks.label_exchange.returned_judgements import (
    BAD,
    FIRST,
    SECOND,
    ReturnedJudgement,
    normal_time,
    store_returned,
)
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch, list_batches
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.people import find_person
from tasks.labelling.queue import is_swapped
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import opened, person


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    yield from opened(tmp_path)


@pytest.fixture
def batch(store: LabelStore) -> ExchangedBatch:
    items = [LabelItem(f"Q{number}", "x", "y") for number in range(20)]
    add_batch(store, BatchSettings("first", aspects=("truth",), needed=1), items)
    person(store, "ana")
    return read_exchanged_batches(store)[0]


def test_store_returned_twice_adds_once_and_a_change_replaces(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    item = batch.items[0].digest
    given = ReturnedJudgement("ana", "ana", item, "7 monday", FIRST, time="2026-03-01T10:00:00.000+00:00")
    first = store_returned(store, batch, "tool", [given])
    assert (first.new, first.known, first.people, first.faults) == (1, 0, {"ana"}, [])
    assert store_returned(store, batch, "tool", [given]).known == 1
    changed = replace(given, origin="7 tuesday", choice=BAD)
    again = store_returned(store, batch, "tool", [given, changed])
    assert (again.new, again.known) == (1, 1)
    [row] = newest_judgements(store)
    assert row["choice"] == "bad" and row["time"] == given.time
    assert list_batches(store)[0].judged == 1


def test_store_returned_order_of_the_screen_becomes_that_of_the_store(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    given = [
        ReturnedJudgement("ana", "ana", item.digest, "1", SECOND, {"truth": 2}, seconds=4.0)
        for item in batch.items
    ]
    assert store_returned(store, batch, "tool", given).new == 20
    rows = list(newest_judgements(store))
    assert {row["swapped"] for row in rows} == {True, False}
    for row in rows:
        swapped = is_swapped("ana", row["item_digest"])
        assert (row["choice"], row["steps"]) == (("a", {"truth": 4}) if swapped else ("b", {"truth": 2}))


def test_store_returned_unknown_people_are_added_and_faults_are_told(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    item = batch.items[0].digest
    given = [
        ReturnedJudgement("eve@example.org", "", item, "1", FIRST, guide="changed there"),
        ReturnedJudgement("ana", "", "of another batch", "2", FIRST),
        ReturnedJudgement("ana", "", item, "3", FIRST, comment="x" * 100_001),
        ReturnedJudgement("unknown", "", item, "4", FIRST),
        "annotation 5 has no choice",
    ]
    found = store_returned(store, batch, "tool", given)
    assert (found.new, len(found.faults)) == (1, 4)
    for fault, said in zip(
        found.faults, ("does not have", "comment has", "without a name", "no choice"), strict=True
    ):
        assert said in fault
    added = find_person(store, "eve@example.org")
    assert added is not None and not added.is_reviewer and not added.has_password
    [row] = newest_judgements(store)
    assert row["guide"] == batch.guide


def test_store_returned_skipped_item_is_no_judgement(store: LabelStore, batch: ExchangedBatch) -> None:
    skipped = ReturnedJudgement("ana", "ana", batch.items[0].digest, "1")
    assert store_returned(store, batch, "tool", [skipped]).new == 1
    assert list(newest_judgements(store)) == [] and list_batches(store)[0].judged == 0


def test_normal_time_is_utc_or_empty() -> None:
    assert normal_time("2026-11-30T13:35:22.468630+02:00") == "2026-11-30T11:35:22.468+00:00"
    assert normal_time("2026-11-30T11:35:22.468630Z") == "2026-11-30T11:35:22.468+00:00"
    assert normal_time("yesterday") == normal_time(None) == ""
