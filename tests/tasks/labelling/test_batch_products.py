"""The products of batches, and the judgements that a product's source reads."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.labelling.batch_products import ProductChoice, set_batch_product
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch, list_batches
from tasks.labelling.page_rows import page_rows
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import items, judge, person

# The origin of a batch, and whether the product `team` of the presets `small` and `large` reads it.
ORIGINS: list[tuple[dict[str, Any], bool]] = [
    ({"product": "team", "preset": "small"}, True),
    ({"product": "demo", "preset": "demo"}, False),
    # Recorded by this version: the product counts, whatever the preset is called.
    ({"product": "demo", "preset": "small"}, False),
    # Recorded by earlier versions: the preset alone.
    ({"preset": "small"}, True),
    ({"preset": "large"}, True),
    ({"preset": "team"}, True),
    ({"preset": "demo"}, False),
    # Imported from a file.
    ({"file": "pairs.jsonl"}, True),
    ({"file": "pairs.jsonl", "product": "demo"}, False),
    ({}, True),
]


@pytest.mark.parametrize(("origin", "is_read"), ORIGINS)
def test_product_choice_reads_batches_of_its_product_and_of_none(
    origin: dict[str, Any], is_read: bool
) -> None:
    assert ProductChoice(own="team", presets=("large", "small")).reads(origin) is is_read
    assert ProductChoice().reads(origin)


def test_product_choice_named_products_replace_the_own_one() -> None:
    choice = ProductChoice(("demo",), "team", ("small",))
    assert [choice.reads({"product": name}) for name in ("demo", "team")] == [True, False]
    assert [choice.reads({"preset": name}) for name in ("demo", "small")] == [True, False]
    both = ProductChoice(("demo", "team"), "team", ("small",))
    assert [both.reads({"preset": name}) for name in ("demo", "small", "third")] == [True, True, False]


def judged_batch(
    store: LabelStore, name: str, origin: dict[str, Any], start: int, people: tuple[str, ...]
) -> None:
    number = add_batch(store, BatchSettings(name, origin=origin), items(2, start)).batch
    with store.read() as connection:
        first = connection.exec_driver_sql(
            "SELECT min(number) FROM items WHERE batch = ?", (number,)
        ).scalar()
    for one in people:
        judge(store, person(store, one), int(first or 0))


def test_page_rows_other_products_are_left_out_with_a_count_and_the_key(store: LabelStore) -> None:
    judged_batch(store, "ours", {"product": "team"}, 0, ("Ada",))
    judged_batch(store, "theirs", {"product": "demo"}, 10, ("Ada", "Bob"))
    judged_batch(store, "older", {"preset": "it's old"}, 20, ("Bob",))
    judged_batch(store, "imported", {"file": "a.jsonl"}, 30, ("Ada", "Bob", "Cy"))
    found = page_rows(store, products=ProductChoice(own="team", presets=("team",)))
    assert sorted(row["prompt"] for row in found.rows) == ["Question 0?", *["Question 30?"] * 3]
    assert found.notices == [
        "left out: 2 judgements of demo, 1 judgement of it's old, as the batches are of another product than "
        'team; `products: ["team", "demo", "it\'s old"]` in the source reads them too',
        "read: 3 judgements of imported batches that name no product; `chatmill label product NAME PRODUCT` "
        "gives a batch to one",
    ]
    found = page_rows(store, products=ProductChoice(("team", "demo", "it's old"), "team"))
    assert (len(found.rows), found.notices) == (7, [])


def test_page_rows_without_other_products_says_nothing(store: LabelStore) -> None:
    judged_batch(store, "ours", {"product": "team"}, 0, ("Ada",))
    judged_batch(store, "imported", {"file": "a.jsonl"}, 30, ("Ada",))
    found = page_rows(store, products=ProductChoice(own="team"))
    assert (len(found.rows), found.notices) == (2, [])


def test_page_rows_known_items_of_other_products_judge_nobody(store: LabelStore) -> None:
    known = [
        LabelItem(f"Is {n} odd?", "Yes.", "No.", reason="known", known_choice="a" if n % 2 else "b")
        for n in range(6)
    ]
    judged_batch(store, "ours", {"product": "team"}, 0, ("Ada",))
    add_batch(store, BatchSettings("theirs", origin={"product": "demo"}), [*known, *items(1, 50)])
    ada = person(store, "Ada")
    for number in range(3, 9):
        judge(store, ada, number, "tie")
    team = page_rows(store, 0.9, ProductChoice(own="team"))
    assert (len(team.rows), team.notices) == (1, [])
    assert page_rows(store, 0.9).rows == []


def test_set_batch_product_moves_the_judgements_to_one_product(store: LabelStore) -> None:
    judged_batch(store, "imported", {"file": "a.jsonl"}, 0, ("Ada",))
    set_batch_product(store, "imported", "demo")
    assert [batch.origin for batch in list_batches(store)] == [{"file": "a.jsonl", "product": "demo"}]
    counts = {name: len(page_rows(store, products=ProductChoice(own=name)).rows) for name in ("demo", "team")}
    assert counts == {"demo": 1, "team": 0}
    with pytest.raises(UserError, match="no batch named 'other'"):
        set_batch_product(store, "other", "demo")
    with pytest.raises(UserError, match="the product's name is empty"):
        set_batch_product(store, "imported", " ")
