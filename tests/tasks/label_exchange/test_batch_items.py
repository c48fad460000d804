"""Who gets which items of a batch in another tool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.label_exchange.batch_items import (
    ANYBODY,
    ExchangedBatch,
    ExchangedItem,
    assign_items,
    check_people,
    explain_no_items,
    read_exchanged_batches,
)
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.queue import is_swapped
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import judge, opened, person


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    yield from opened(tmp_path)


def exchanged(count: int, needed: int, judged: dict[int, set[str]] | None = None) -> ExchangedBatch:
    items = tuple(
        ExchangedItem(f"d{number}", "Q", "x", "y", frozenset((judged or {}).get(number, ())))
        for number in range(count)
    )
    return ExchangedBatch(1, "first", "key", "guide", "# Guide", (), needed, items)


def test_assign_items_each_item_gets_as_many_people_as_needed() -> None:
    found = assign_items(exchanged(9, 2), ["ana", "ben", "eve"], {})
    assert {name: len(items) for name, items in found.items()} == {"ana": 6, "ben": 6, "eve": 6}
    digests = [item.digest for items in found.values() for item in items]
    assert all(digests.count(f"d{number}") == 2 for number in range(9))


def test_assign_items_second_call_goes_on_where_a_killed_one_stopped() -> None:
    batch = exchanged(7, 2)
    whole = assign_items(batch, ["ana", "ben"], {})
    sent = {"ana": {item.digest for item in whole["ana"][:3]}}
    rest = assign_items(batch, ["ana", "ben"], sent)
    assert [item.digest for item in rest["ana"]] == ["d3", "d4", "d5", "d6"]
    assert len(rest["ben"]) == 7
    everything = {name: {item.digest for item in items} for name, items in whole.items()}
    assert assign_items(batch, ["ana", "ben"], everything) == {"ana": [], "ben": []}


def test_assign_items_judged_items_are_not_sent() -> None:
    batch = exchanged(3, 2, {0: {"ana", "ben"}, 1: {"page"}})
    found = assign_items(batch, ["ana", "ben"], {})
    assert {name: [item.digest for item in items] for name, items in found.items()} == {
        "ana": ["d1", "d2"],
        "ben": ["d2"],
    }


@pytest.mark.parametrize(
    ("judged", "there", "who", "reason"),
    [
        ({}, {"ana": {"d0", "d1", "d2"}}, "ana", "3 items of the batch: 3 there already"),
        (
            {0: {"ana", "ben"}, 1: {"ben", "eve"}}, {"ana": {"d2"}}, "ana",
            "3 items of the batch: 1 there already, 1 judged on the label page, 1 with the 2 people that an "
            "item needs",
        ),
        (
            {number: {"ana", "ben"} for number in range(3)}, {}, ANYBODY,
            "3 items of the batch: 3 with the 2 people that an item needs",
        ),
    ],
)  # fmt: skip
def test_explain_no_items_counts_why_each_is_not_sent(
    judged: dict[int, set[str]], there: dict[str, set[str]], who: str, reason: str
) -> None:
    batch = exchanged(3, 2, judged)
    assert assign_items(batch, [who], there)[who] == []
    assert explain_no_items(batch, who, there) == reason


def test_check_people_too_few_or_unknown_are_refused() -> None:
    assert check_people(exchanged(1, 1), [], ["ana"]) == [ANYBODY]
    assert check_people(exchanged(1, 2), ["ben", "ana", "ben"], ["ana", "ben"]) == ["ben", "ana"]
    with pytest.raises(UserError, match="nobody named 'eve'"):
        check_people(exchanged(1, 1), ["eve"], ["ana"])
    for named in ([], ["ana"], ["ana", "ana"]):
        with pytest.raises(UserError, match=r"needs 2 people for each item.*--person"):
            check_people(exchanged(1, 2), named, ["ana"])


def test_read_exchanged_batches_items_have_no_model_and_know_who_judged(store: LabelStore) -> None:
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    items = [LabelItem("Q0", "x", "y", turns, "m@1", "m@2"), LabelItem("Q1", "x", "y")]
    add_batch(store, BatchSettings("first", aspects=("truth",)), items)
    judge(store, person(store, "ana"), 1)
    judge(store, person(store, "ben"), 1, action="skip")
    [batch] = read_exchanged_batches(store, "first")
    first, second = batch.items
    assert first.conversation == "user: Hi\n\nassistant: Hello\n\nuser: Q0" and second.conversation == "Q1"
    assert (first.judged_by, second.judged_by) == ({"ana"}, frozenset())
    assert "m@1" not in repr(batch) and batch.aspects == ("truth",)
    for who in ("ana", "ben", "eve"):
        swapped = is_swapped(who, first.digest)
        assert first.answers_for(who) == (("y", "x") if swapped else ("x", "y"))
    with pytest.raises(UserError, match="there is no batch named 'second'"):
        read_exchanged_batches(store, "second")
