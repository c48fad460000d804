"""Judgements of another tool in the label page's store."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from tasks.label_exchange.batch_items import ExchangedBatch, read_exchanged_batches
from tasks.label_exchange.returned_judgements import (
    BAD,
    FIRST,
    SECOND,
    TIE,
    PullResult,
    ReturnedJudgement,
    ToolItems,
    normal_time,
    store_returned,
)
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch, list_batches
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.people import find_person
from tasks.labelling.queue import is_swapped
from tasks.labelling.schema import ITEM_TABLE, JUDGEMENT_TABLE, LabelStore, open_label_store
from tests.killed_process import NO_OPERATION, run_killed
from tests.tasks.labelling.label_project import judge, opened, person


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    yield from opened(tmp_path)


@pytest.fixture
def batch(store: LabelStore) -> ExchangedBatch:
    items = [LabelItem(f"Q{number}", "x", "y") for number in range(20)]
    add_batch(store, BatchSettings("first", aspects=("truth",), needed=1), items)
    person(store, "ana")
    return read_exchanged_batches(store)[0]


def fetch(
    store: LabelStore, batch: ExchangedBatch, given: list[ReturnedJudgement | str], *unreadable: str
) -> PullResult:
    """Store what a tool has, in which ana has a list of all items."""
    there = ToolItems()
    for item in batch.items:
        there.add("ana", item.digest)
    judged = [each for each in given if isinstance(each, ReturnedJudgement)]
    there.judged |= {(each.item, each.person) for each in judged} | {(item, "ana") for item in unreadable}
    return store_returned(store, batch, "tool", given, there)


def test_store_returned_twice_adds_once_and_a_change_replaces(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    item = batch.items[0].digest
    given = ReturnedJudgement("ana", "ana", item, "7 monday", FIRST, time="2026-03-01T10:00:00.000+00:00")
    first = fetch(store, batch, [given])
    assert (first.new, first.known, first.people, first.faults) == (1, 0, {"ana"}, [])
    assert fetch(store, batch, [given]).known == 1
    changed = replace(given, origin="7 tuesday", choice=BAD)
    again = fetch(store, batch, [given, changed])
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
    assert fetch(store, batch, given).new == 20
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
    found = fetch(store, batch, given)
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
    assert fetch(store, batch, [skipped]).new == 1
    assert list(newest_judgements(store)) == [] and list_batches(store)[0].judged == 0


def rows_of(store: LabelStore, digest: str) -> list[tuple[str, str]]:
    """Return action and choice of all rows about an item, the oldest first."""
    query = (
        select(JUDGEMENT_TABLE.c.action, JUDGEMENT_TABLE.c.choice)
        .join(ITEM_TABLE, ITEM_TABLE.c.number == JUDGEMENT_TABLE.c.item)
        .where(ITEM_TABLE.c.digest == digest)
        .order_by(JUDGEMENT_TABLE.c.number)
    )
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(query)]  # type: ignore[misc]


def test_store_returned_deleted_judgement_is_withdrawn_and_stays_on_record(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    first, second = batch.items[:2]
    given: list[ReturnedJudgement | str] = [
        ReturnedJudgement("ana", "", item.digest, "1", TIE, time=f"2026-03-0{day}T10:00:00.000+00:00")
        for day, item in enumerate((first, second), 1)
    ]
    assert fetch(store, batch, given).new == 2
    found = fetch(store, batch, given[1:])
    assert (found.new, found.known, found.withdrawn, found.kept) == (0, 1, 1, 0)
    assert [row["item_digest"] for row in newest_judgements(store)] == [second.digest]
    assert rows_of(store, first.digest) == [("judge", "tie"), ("undo", "")]
    assert list_batches(store)[0].judged == 1
    # Nothing more happens to it, whatever comes for the others.
    assert fetch(store, batch, given[1:]).withdrawn == 0
    # The tool's own backup brings it back, in the state that the store had.
    assert fetch(store, batch, given).new == 1
    assert fetch(store, batch, given).new == 0
    assert rows_of(store, first.digest) == [("judge", "tie"), ("undo", ""), ("judge", "tie")]
    # And it can be deleted again.
    assert fetch(store, batch, given[1:]).withdrawn == 1
    assert list_batches(store)[0].judged == 1


def test_store_returned_deleted_newer_judgement_lets_the_earlier_one_count(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    item = batch.items[0].digest
    older = ReturnedJudgement("ana", "", item, "1", TIE, time="2026-03-01T10:00:00.000+00:00")
    newer = replace(older, origin="2", choice=BAD, time="2026-03-02T10:00:00.000+00:00")
    fetch(store, batch, [older])
    fetch(store, batch, [older, newer])
    for new in (1, 0):
        found = fetch(store, batch, [older])
        assert (found.new, found.withdrawn) == (new, 0)
    assert [row["choice"] for row in newest_judgements(store)] == ["tie"]
    assert [choice for _, choice in rows_of(store, item)] == ["tie", "bad", "tie"]


def test_store_returned_item_that_is_gone_keeps_its_judgement(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    item = batch.items[0].digest
    fetch(store, batch, [ReturnedJudgement("ana", "", item, "1", TIE)])
    there = ToolItems()
    there.add("ana", batch.items[1].digest)
    found = store_returned(store, batch, "tool", [], there)
    assert (found.withdrawn, found.kept) == (0, 1)
    assert store_returned(store, batch, "tool", [], ToolItems()).kept == 1
    # Nor is one withdrawn that is there, and cannot be read.
    assert fetch(store, batch, ["annotation 1 has no choice"], item).withdrawn == 0
    assert fetch(store, batch, ["annotation 1 is by a user whom nobody names"]).withdrawn == 1


def test_store_returned_deleted_judgement_of_somebody_unnamed_withdraws_none(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    item = batch.items[0].digest
    there = ToolItems()
    there.add("", item)
    given = ReturnedJudgement("eve@example.org", "", item, "1", TIE)
    there.judged.add((item, "eve@example.org"))
    assert store_returned(store, batch, "tool", [given], there).new == 1
    there.judged = {(item, "")}
    assert store_returned(store, batch, "tool", ["by nobody"], there).withdrawn == 0
    there.judged = {(item, "bob@example.org")}
    assert store_returned(store, batch, "tool", [], there).withdrawn == 1


def test_store_returned_judgement_of_the_page_is_not_withdrawn(
    store: LabelStore, batch: ExchangedBatch
) -> None:
    ana = find_person(store, "ana")
    assert ana is not None
    fetch(store, batch, [ReturnedJudgement("ana", "", batch.items[0].digest, "1", TIE)])
    # The same item once more, on the page: the page's judgement is the newest one.
    judge(store, ana, 1, "tie")
    judge(store, ana, 2, "tie")
    assert fetch(store, batch, []).withdrawn == 0
    assert [row["choice"] for row in newest_judgements(store)] == ["tie", "tie"]


def test_normal_time_is_utc_or_empty() -> None:
    assert normal_time("2026-11-30T13:35:22.468630+02:00") == "2026-11-30T11:35:22.468+00:00"
    assert normal_time("2026-11-30T11:35:22.468630Z") == "2026-11-30T11:35:22.468+00:00"
    assert normal_time("yesterday") == normal_time(None) == ""


def test_store_returned_killed_before_any_transaction_is_completed_by_the_next_call(tmp_path: Path) -> None:
    """`chatmill label pull` writes by this function alone."""
    given: list[ReturnedJudgement] = []

    def prepare(root: Path) -> None:
        with open_label_store(root) as store:
            add_batch(
                store, BatchSettings("first", needed=1), [LabelItem(f"Q{n}", "x", "y") for n in range(3)]
            )
            [batch] = read_exchanged_batches(store)
            given[:] = [
                ReturnedJudgement(name, "", item.digest, "1", FIRST)
                for name, item in zip(("ana", "ben"), batch.items, strict=False)
            ]
            pull_all(store, given)

    def pull_all(store: LabelStore, found: list[ReturnedJudgement]) -> PullResult:
        [batch] = read_exchanged_batches(store)
        there = ToolItems()
        for item in batch.items:
            there.add("", item.digest)
        there.judged |= {(each.item, each.person) for each in found}
        return store_returned(store, batch, "tool", found, there)

    def pull_later(root: Path, number: int) -> None:
        """Fetch a changed judgement, one of a new person, and the absence of a deleted one."""
        left = number

        def before_commit(connection: object) -> None:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

        event.listen(Engine, "commit", before_commit)
        with open_label_store(root) as store:
            pull_all(store, [*given[:1], *later])

    template, number = tmp_path / "template", 0
    ends: list[list[tuple[str, int, str]]] = []
    template.mkdir()
    prepare(template)
    later = [
        replace(given[0], origin="2", choice=TIE),
        ReturnedJudgement("eve", "", given[1].item, "3", SECOND),
    ]
    while True:
        root = shutil.copytree(template, tmp_path / f"{number}")
        killed = run_killed(partial(pull_later, root, number), NO_OPERATION, tmp_path)
        with open_label_store(root) as store:
            again = pull_all(store, [*given[:1], *later])
            assert killed or (again.new, again.withdrawn) == (0, 0)
            ends.append(
                sorted((row["person"], row["item"], row["choice"]) for row in newest_judgements(store))
            )
            assert pull_all(store, [*given[:1], *later]).new == 0
            with store.read() as connection:
                assert len(connection.execute(select(JUDGEMENT_TABLE)).all()) == 5
        if not killed:
            break
        number += 1
    assert number > 3 and all(end == ends[-1] for end in ends)
    assert [(who, item) for who, item, _ in ends[-1]] == [("ana", 1), ("eve", 2)]
