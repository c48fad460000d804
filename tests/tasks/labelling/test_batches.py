"""Batches of the label page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.errors import UserError
from tasks.labelling.batches import (
    BatchSettings,
    LabelItem,
    add_batch,
    add_batch_once,
    change_guide,
    guide_text,
    list_batches,
    open_batch,
)
from tasks.labelling.people import add_person
from tasks.labelling.queue import next_items
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import items

ITEM = LabelItem("Why?", "Because.", "So.")


def test_add_batch_repeated_items_are_counted_and_kept_once(store: LabelStore) -> None:
    turned = replace(ITEM, a=ITEM.b, b=ITEM.a)
    first = add_batch(store, BatchSettings("one"), [ITEM, turned, *items(2)])
    assert (first.added, first.repeated, first.earlier) == (3, 1, 0)
    second = add_batch(store, BatchSettings("two"), [ITEM, *items(2, start=5)])
    assert (second.added, second.repeated, second.earlier) == (2, 0, 1)
    assert [one.items for one in list_batches(store)] == [3, 2]


def test_add_batch_items_of_another_product_are_asked_again(store: LabelStore) -> None:
    # The judgements of a batch without a product are for all products.
    for name, product, start, count, earlier in (
        ("one", "shop", 0, 3, 0), ("two", "bank", 0, 3, 0), ("three", "shop", 2, 3, 1), ("four", "", 4, 3, 0),
        ("five", "bank", 2, 5, 4),
    ):  # fmt: skip
        settings = BatchSettings(name, origin={"product": product} if product else {})
        assert add_batch(store, settings, items(count, start)).earlier == earlier, name


def test_add_batch_known_items_may_come_again(store: LabelStore) -> None:
    known = replace(ITEM, reason="known", known_choice="a")
    add_batch(store, BatchSettings("one"), [known, *items(1)])
    assert add_batch(store, BatchSettings("two"), [known, *items(1, start=5)]).added == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BatchSettings(" "), "name"),
        (BatchSettings("b", needed=0), "needed is 0"),
        (BatchSettings("b", guide=" \n"), "guide is empty"),
        (BatchSettings("b", aspects=("x", "x")), "twice"),
        (BatchSettings("b", aspects=("",)), "aspect"),
    ],
)
def test_add_batch_invalid_setting_is_refused(
    store: LabelStore, settings: BatchSettings, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        add_batch(store, settings, [ITEM])
    assert not list_batches(store)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (replace(ITEM, a=" "), "item 2: a is empty"),
        (replace(ITEM, prompt=""), "item 2: prompt is empty"),
        (replace(ITEM, b=ITEM.a), "equal"),
        (replace(ITEM, reason="known"), "known_choice"),
        (replace(ITEM, known_choice="a"), "known_choice"),
        (replace(ITEM, reason="known", known_choice="left"), "a, b, tie"),
    ],
)
def test_add_batch_invalid_item_adds_nothing(store: LabelStore, item: LabelItem, message: str) -> None:
    with pytest.raises(UserError, match=message):
        add_batch(store, BatchSettings("one"), [*items(1), item])
    assert not list_batches(store)


def test_add_batch_taken_name_or_no_new_item_is_refused(store: LabelStore) -> None:
    add_batch(store, BatchSettings("one"), [ITEM])
    with pytest.raises(UserError, match="another name"):
        add_batch(store, BatchSettings("one"), items(1))
    with pytest.raises(UserError, match="earlier batches"):
        add_batch(store, BatchSettings("two"), [ITEM])
    with pytest.raises(UserError, match="empty"):
        add_batch(store, BatchSettings("two"), [])


def test_add_batch_once_same_batch_is_found_with_its_counts(store: LabelStore) -> None:
    known = replace(ITEM, reason="known", known_choice="a", history=({"role": "user", "content": "Hi"},))
    settings = BatchSettings("two", "Guide", ("truth",), 3, True, {"file": "b.jsonl"})
    add_batch(store, BatchSettings("one"), items(2))
    given = [*items(5), known, items(3)[2]]
    first = add_batch_once(store, settings, given)
    assert (first.added, first.repeated, first.earlier, first.present) == (4, 1, 2, False)
    # A later batch with its items changes nothing.
    add_batch(store, BatchSettings("three", origin={"product": "shop"}), items(9, start=7))
    again = add_batch_once(store, replace(settings, origin={"file": "./b.jsonl"}), given)
    assert again == replace(first, present=True)
    assert [batch.items for batch in list_batches(store)] == [2, 4, 9]


@pytest.mark.parametrize(
    "change",
    [
        {"guide": "Other"}, {"aspects": ()}, {"needed": 2}, {"markdown": True},
        {"origin": {"product": "shop"}},
        {"items": items(2)}, {"items": items(4)}, {"items": [replace(one, a_model="m") for one in items(3)]},
    ],
)  # fmt: skip
def test_add_batch_once_other_batch_of_the_name_is_refused(store: LabelStore, change: dict[str, Any]) -> None:
    settings = BatchSettings("one", "Guide", ("truth",), 1, origin={"file": "a"})
    add_batch_once(store, settings, items(3))
    changed = dict(change)
    given = changed.pop("items", items(3))
    with pytest.raises(UserError, match="there is a batch named 'one'; choose another name"):
        add_batch_once(store, replace(settings, **changed), given)
    assert [batch.items for batch in list_batches(store)] == [3]


def test_change_guide_keeps_the_former_version(store: LabelStore) -> None:
    add_batch(store, BatchSettings("one", guide="first"), [ITEM])
    before = list_batches(store)[0].guide
    after = change_guide(store, "one", "second")
    assert (guide_text(store, before), guide_text(store, after)) == ("first", "second")
    assert list_batches(store)[0].guide == after
    assert guide_text(store, "none") is None
    with pytest.raises(UserError, match="no batch"):
        change_guide(store, "two", "third")


def test_open_batch_closed_gives_no_items(store: LabelStore) -> None:
    add_batch(store, BatchSettings("one"), [ITEM])
    ada, _ = add_person(store, "Ada")
    open_batch(store, "one", False)
    assert next_items(store, ada) == []
    open_batch(store, "one", True)
    assert len(next_items(store, ada)) == 1
